"""What carries events away."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Protocol

from training_sdk.wire import WireEvent

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_LONGEST_S: Final = 10.0


class TransportError(Exception):
    """Not every event was acknowledged; which ones were is unknown, so all of them are sent again."""


class Transport(Protocol):
    """Two implementations: KafkaTransport and HttpTransport (and RecordingTransport for tests of scripts)."""

    async def send(self, events: Sequence[WireEvent]) -> None:
        """Send in order and return when every event is acknowledged. Raises TransportError otherwise."""

    async def close(self) -> None:
        """Let go of connections within a few seconds; never raises."""


def backoff_s(failures: int) -> float:
    """Full jitter: anything up to 0.5 s doubled for each failure, 10 s at most.

    From "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** min(failures, 10)))
