"""Three kinds of failure, three behaviours: try again for ever, park the event, crash."""

from __future__ import annotations

from enum import Enum
from typing import Final

import asyncpg


class Failure(Enum):
    TRANSIENT = "transient"
    """The world is not ready: the same batch may succeed later."""
    BAD_EVENT = "bad event"
    """This event can never be applied: it is parked with its reason."""
    UNKNOWN = "unknown"
    """Nobody thought of this: the process crashes loudly and nothing is applied."""


class Unavailable(Exception):
    """Something outside of Postgres that a handler needs does not answer; the batch is tried again."""


class BadEvent(Exception):
    """A handler found that this event can never be applied; ``str()`` is the reason."""


_TRANSIENT: Final = (
    Unavailable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidCachedStatementError,
    OSError,
    TimeoutError,
)
_BAD_EVENT: Final = (BadEvent, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


def classify(error: BaseException) -> Failure:
    if isinstance(error, _BAD_EVENT):
        return Failure.BAD_EVENT
    if isinstance(error, _TRANSIENT):
        return Failure.TRANSIENT
    return Failure.UNKNOWN
