"""Blocking calls off the event loop, in daemon threads: nothing here can keep the interpreter from ending."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def in_thread(function: Callable[[], Result]) -> Result:
    """Run ``function`` in a daemon thread of its own; an executor's threads are joined at exit and refuse work then."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where Result has it

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="training-sdk-io", daemon=True).start()
    return await future


class Loop(asyncio.SelectorEventLoop):
    """An event loop that can look up host names while the interpreter shuts down."""

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        return await in_thread(lambda: socket.getaddrinfo(host, port, family, type, proto, flags))
