"""For tests of training scripts: a transport that keeps what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from training_sdk.delivery.transport import TransportError
from training_sdk.wire import WireEvent


class RecordingTransport:
    """Keeps every event, in order. While ``failing`` is true it takes nothing, as a broker that is down."""

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self.attempts: list[list[WireEvent]] = []
        """What each call of ``send`` was given, also those that failed."""
        self.failing = False
        self.closed = False

    async def send(self, events: Sequence[WireEvent]) -> None:
        self.attempts.append(list(events))
        if self.failing:
            raise TransportError("this transport was told to fail")
        self.events.extend(events)

    async def close(self) -> None:
        self.closed = True

    def data(self, type_name: str) -> list[Any]:
        """The decoded data of every event of that type."""
        return [orjson.loads(event.data) for event in self.events if event.type == type_name]
