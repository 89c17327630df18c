from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from producers.database import Pool, open_pool
from tests.services import World


@pytest_asyncio.fixture
async def pool(migrated_world: World) -> AsyncIterator[Pool]:
    opened = await open_pool(migrated_world.database_url, size_max=4)
    yield opened
    await opened.close()
