"""The thread that empties the ring: into the spool, then away."""

from __future__ import annotations

import asyncio
import logging
import threading
import time as clock
from collections.abc import Callable
from typing import Any, Final

import orjson

from training_sdk import wire
from training_sdk.delivery.background import Loop, in_thread
from training_sdk.delivery.http import request
from training_sdk.delivery.packer import Draft, utc_text
from training_sdk.delivery.session import Session
from training_sdk.delivery.spool import Unsent
from training_sdk.delivery.transport import Transport, TransportError, backoff_s
from training_sdk.storage.uploads import UploadQueue
from training_sdk.system import SAMPLE_INTERVAL_S, SystemSampler

POLL_INTERVAL_S: Final = 0.005
"""How often the ring is looked at. A caller cannot wake the thread without a system call."""
FLUSH_INTERVAL_S: Final = 0.2
FLUSH_BYTES: Final = 64 * 1024
COMMANDS_INTERVAL_S: Final = 2.0
COMMANDS_TIMEOUT_S: Final = 5.0
CLOSE_MARGIN_S: Final = 2.0
"""Left of the time for closing when events stop waiting for uploads."""

logger = logging.getLogger("training_sdk")


class Sender:
    """Owns the session from ``start`` to ``close``. ``transport`` None: nothing is sent, all stays in the spool."""

    def __init__(
        self,
        session: Session,
        transport: Transport | None,
        uploads: UploadQueue,
        *,
        tensor: Callable[[int], float | None],
        on_stop: Callable[[str], None],
        commands_url: str | None,
        attempt: int,
    ) -> None:
        self._session = session
        self._transport = transport
        self._uploads = uploads
        self._tensor = tensor
        self._on_stop = on_stop
        self._commands_url = commands_url
        self._attempt = attempt
        self._loop = Loop()
        self._closing = asyncio.Event()
        self._spooled = asyncio.Event()
        self._deadline = 0.0
        self._last_flush = 0.0
        self._drafts: list[Draft] = []
        self.flush_soon = False
        """Set by flush_logs and errors: the next look at the ring is a flush."""
        self.failures = 0
        """Failed attempts to send since the last that worked."""
        self._thread = threading.Thread(target=self._run, name="training-sdk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, for at most ``timeout_s`` seconds. True when all of it is in the log."""
        self._deadline = clock.monotonic() + timeout_s
        try:
            self._loop.call_soon_threadsafe(self._closing.set)
        except RuntimeError:
            return False  # the loop has ended already
        self._thread.join(timeout_s + CLOSE_MARGIN_S + 3)
        return not self._thread.is_alive() and not self._session.folder.exists()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
        except Exception:
            logger.warning(
                "training_sdk: the sending thread ended; reports stay in %s", self._session.folder, exc_info=True
            )
        finally:
            self._loop.close()

    async def _live(self) -> None:
        pump = asyncio.create_task(self._pump())
        others = [asyncio.create_task(self._sample())]
        if self._commands_url is not None:
            others.append(asyncio.create_task(self._ask_for_commands()))
        ship = asyncio.create_task(self._ship())
        await self._closing.wait()
        for task in others:
            task.cancel()
        await self._finish_uploads()
        pump.cancel()
        await asyncio.gather(pump, *others, return_exceptions=True)
        self._close_session()
        try:
            async with asyncio.timeout(max(0.1, self._deadline - clock.monotonic())):
                while not self._session.spool.all_sent and self._transport is not None:
                    await asyncio.sleep(POLL_INTERVAL_S)
        except TimeoutError:
            logger.warning(
                "training_sdk: not everything was sent in time; the rest is in %s (python -m training_sdk sync %s)",
                self._session.folder,
                self._session.folder.parent.parent,
            )
        ship.cancel()
        await asyncio.gather(ship, return_exceptions=True)
        if self._transport is not None:
            await self._transport.close()
        if self._transport is not None and self._session.spool.all_sent and self._session.spool.state.closed:
            self._session.delete()
        else:
            self._session.drop_ring()
            self._session.let_go()

    async def _finish_uploads(self) -> None:
        """Let uploads end, but not until the deadline itself: the closing events need their time too."""
        while self._uploads.pending and clock.monotonic() < self._deadline - CLOSE_MARGIN_S:
            await asyncio.sleep(0.02)
        await in_thread(lambda: self._uploads.stop(0.5))

    def _close_session(self) -> None:
        try:
            while self._session.pump(tensor=self._tensor):
                pass
            self._session.release()
            if not self._uploads.pending and self._session.drained:
                self._session.close_events("sdk")
        except OSError as error:
            logger.warning("training_sdk: %s: %s; the rest stays in the ring", self._session.folder, error)
        self._spooled.set()

    async def _pump(self) -> None:
        session = self._session
        while True:
            if self._due():
                drafts, self._drafts = self._drafts, []
                # A heartbeat alone must not make the next report of a quiet run wait.
                reports = not session.drained
                try:
                    more = session.pump(drafts, tensor=self._tensor, release=not self._uploads.pending)
                except OSError as error:
                    logger.warning("training_sdk: cannot write to %s: %s", session.folder, error)
                    await asyncio.sleep(1.0)
                    continue
                except Exception:
                    logger.exception("training_sdk: reports could not be packed; they stay in %s", session.folder)
                    await asyncio.sleep(1.0)
                    continue
                if reports:
                    self._last_flush = clock.monotonic()
                self._spooled.set()
                if more:
                    await asyncio.sleep(0)
                    continue
            await asyncio.sleep(POLL_INTERVAL_S)

    def _due(self) -> bool:
        session = self._session
        if self.flush_soon:
            self.flush_soon = False
            return True
        if session.spool.state.waiting and not self._uploads.pending:
            return True
        if session.drained and not self._drafts:
            return False
        if clock.monotonic() - self._last_flush >= FLUSH_INTERVAL_S:
            return True
        return session.ring is not None and session.ring.head - session.spool.state.ring >= FLUSH_BYTES

    async def _ship(self) -> None:
        if self._transport is None:
            return
        while True:
            unsent = self._session.spool.unsent()
            if unsent is None:
                self._spooled.clear()
                await self._spooled.wait()
                continue
            await self._send(self._transport, unsent)

    async def _send(self, transport: Transport, unsent: Unsent) -> None:
        try:
            if unsent.events:
                await transport.send(unsent.events)
        except TransportError as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("training_sdk: cannot send now, reports wait in the spool: %s", error)
            # While closing there is no time to be polite.
            longest = 0.5 if self._closing.is_set() else 60.0
            try:
                async with asyncio.timeout(min(longest, backoff_s(self.failures))):
                    await self._closing.wait()
                    await asyncio.sleep(0.2)
            except TimeoutError:
                return
        else:
            if self.failures:
                logger.info("training_sdk: sending again after %d failures", self.failures)
            self.failures = 0
            self._session.spool.forget(unsent)

    async def _sample(self) -> None:
        sampler = SystemSampler()
        while True:
            sample = await in_thread(sampler.sample)
            now = utc_text(clock.time())
            self._drafts.append(Draft(wire.SYSTEM, wire.HEARTBEAT_SENT, now, b"{}"))
            self._drafts.append(Draft(wire.SYSTEM, wire.SYSTEM_SAMPLED, now, orjson.dumps(sample)))
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def _ask_for_commands(self) -> None:
        url = self._commands_url or ""
        failures = 0
        while True:
            try:
                self.heed(await in_thread(lambda: request(url, timeout_s=COMMANDS_TIMEOUT_S)))
                failures = 0
            except (OSError, ValueError) as error:
                failures += 1
                logger.debug("training_sdk: GET %s: %s", url, error)
            await asyncio.sleep(COMMANDS_INTERVAL_S + (backoff_s(failures) if failures else 0))

    def heed(self, answer: Any) -> None:
        """An answer of the service that may ask the run to stop; one for another attempt is not for us."""
        if answer.get("stop") is True and answer.get("attempt", self._attempt) in (self._attempt, None):
            reason = answer.get("reason")
            self._on_stop(reason if isinstance(reason, str) else "stop requested")
