"""The application: its routers in one table, what it opens and closes, what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from fastapi import FastAPI

from api import dashboard
from api.catalogue import datasets, models
from api.context import Context
from api.errors import add_error_handlers
from api.guards import RequestLimits
from api.jobs import callbacks, commands, deletion, events, files, ingest, integrity, purge
from api.jobs import routes as jobs
from api.live import socket
from api.live.hub import Hub
from api.live.tail import LogTail
from api.logs import routes as logs
from api.metrics import routes as metrics
from api.operations import archive, dead_letters, documents, health, prometheus, read_models
from api.operations.oldest import OldestRecords
from api.operations.throughput import Throughput
from api.settings import Settings
from api.store import open_store
from api.system import routes as system
from producers.database import open_pool
from producers.kafka.publisher import KafkaPublisher
from producers.relay import Relay

ROUTERS: Final = (
    jobs.router,
    commands.router,
    events.router,
    deletion.router,
    purge.router,
    callbacks.router,
    ingest.router,
    files.router,
    integrity.router,
    metrics.router,
    logs.router,
    system.router,
    datasets.router,
    models.router,
    socket.router,
    archive.router,
    dead_letters.router,
    read_models.router,
    health.router,
    prometheus.router,
    documents.router,
    dashboard.router,
)
POOL_SIZE_MAX: Final = 20
DESCRIPTION: Final = "A training run is a log of facts; everything anyone sees of it is computed from that log."
logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await open_pool(settings.database_url, size_max=POOL_SIZE_MAX, name="epochlog api")
        servers, prefix = settings.kafka_bootstrap_servers, settings.topic_prefix
        # Two publishers: the outbox must not wait behind a client's batch, nor fail with it.
        publisher, relay_publisher = KafkaPublisher(servers, prefix), KafkaPublisher(servers, prefix)
        hub = Hub(pool)
        tail = LogTail(servers, prefix, hub)
        relay = Relay(pool, settings.database_url, relay_publisher)
        oldest, throughput = OldestRecords(servers, prefix), Throughput()
        app.state.context = Context(settings, pool, publisher, hub, tail, oldest, throughput, open_store(settings))
        tasks = [keep(tail.run(), "the live tail"), keep(relay.run(), "the relay")]
        tasks.append(keep(throughput.run(pool), "the look at the throughput"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await publisher.close()
            await relay_publisher.close()
            await pool.close()

    app = FastAPI(title="epochlog", version="1.0.0", description=DESCRIPTION, lifespan=lifespan)
    add_error_handlers(app)
    app.add_middleware(RequestLimits, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(prometheus.RequestTimes)
    for router in ROUTERS:
        app.include_router(router)
    return app


def keep(work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
    """A task that the process cannot do without: should it end by itself, the process ends loudly."""
    task = asyncio.create_task(work, name=what)

    def ended(finished: asyncio.Task[None]) -> None:
        if not finished.cancelled():
            logger.critical("%s ended; the process ends", what, exc_info=finished.exception())
            logging.shutdown()
            os._exit(1)

    task.add_done_callback(ended)
    return task
