from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from tests.running import Running, register_dataset, running_for_module
from tests.services import Services


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """API and core projections for all tests of the module."""
    with running_for_module(services, tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def dataset_id(running: Running) -> int:
    return asyncio.run(register_dataset(running.world))


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{running.backend_url}/", timeout=30) as found:
        yield found
