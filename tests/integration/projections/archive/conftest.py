from __future__ import annotations

import pytest_asyncio

from projections.migration import migrate_all
from projections.settings import Settings
from tests.services import World


@pytest_asyncio.fixture
async def migrated_world(world: World) -> World:
    """As everywhere, in this process: a Python of its own takes longer than most of these tests."""
    await migrate_all(Settings.from_env(world.environment()))
    return world
