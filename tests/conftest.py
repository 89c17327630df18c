from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.services import Services, World, a_world, running_services


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Kafka, Postgres and S3 that really run."""
    with running_services() as found:
        yield found


@pytest_asyncio.fixture
async def world(services: Services, tmp_path: Path) -> AsyncIterator[World]:
    """A database, a topic prefix and buckets of the test's own."""
    async with a_world(services, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def migrated_world(world: World) -> World:
    """A world with topics and tables, as ``python -m projections migrate`` makes them."""
    await asyncio.to_thread(world.run, "-m", "projections", "migrate")
    return world
