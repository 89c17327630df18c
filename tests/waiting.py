"""Wait on conditions, never on time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Answer = TypeVar("Answer")


@overload
async def eventually(
    condition: Callable[[], Awaitable[Answer | None]], *, timeout_s: float = 20.0, what: str = "the condition"
) -> Answer: ...


@overload
async def eventually(
    condition: Callable[[], bool], *, timeout_s: float = 20.0, what: str = "the condition"
) -> bool: ...


async def eventually(condition: Callable[[], Any], *, timeout_s: float = 20.0, what: str = "the condition") -> Any:
    """Ask until the answer is true, and return it. Raises AssertionError with the last answer after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.01
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {timeout_s} s; last answer: {answer!r}")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.25)
