"""What routes share: opened in the application's lifespan, reached through the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from minio import Minio
from starlette.requests import HTTPConnection

from api.live.hub import Hub
from api.live.tail import LogTail
from api.operations.oldest import OldestRecords
from api.operations.throughput import Throughput
from api.settings import Settings
from producers.database import Pool
from producers.kafka.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    pool: Pool
    publisher: Publisher
    hub: Hub
    tail: LogTail
    oldest: OldestRecords
    throughput: Throughput
    store: Minio


def context_of(connection: HTTPConnection) -> Context:
    context: Context = connection.app.state.context
    return context


Api = Annotated[Context, Depends(context_of)]
