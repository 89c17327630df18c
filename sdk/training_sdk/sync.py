"""Ship what others left behind: spools of processes that are gone."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time as clock
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from training_sdk import wire
from training_sdk.delivery.background import Loop
from training_sdk.delivery.packer import Draft, utc_text
from training_sdk.delivery.session import About, Session, SessionInUse
from training_sdk.delivery.transport import Transport, TransportError, backoff_s
from training_sdk.opening import about_this_process, choose_transport
from training_sdk.secrets import Secrets
from training_sdk.settings import RunSettings
from training_sdk.storage.s3 import open_store
from training_sdk.storage.uploads import STORE_ERRORS, UploadQueue

TIMEOUT_S: Final = 60.0
UPLOAD_TRIES: Final = 3
LOCK_WAIT_S: Final = 5.0
REASON_LENGTH_MAX: Final = 500

logger = logging.getLogger("training_sdk")


@dataclass(slots=True)
class Report:
    """What a sync did. ``left``: folder and reason of each session that is not wholly in the log."""

    shipped: list[Path] = field(default_factory=list)
    in_use: list[Path] = field(default_factory=list)
    left: dict[Path, str] = field(default_factory=dict)


def sync(
    folder: Path,
    closed_by: str = "sdk",
    *,
    settings: RunSettings | None = None,
    transport: Transport | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Report:
    """Ship, finish and close every session at or below ``folder`` that no process owns; delete what is in the log.

    Oldest first; when a session of a job cannot be shipped, that job's later ones wait, so their order holds.
    ``timeout_s`` bounds the whole. Never raises for what a session holds; see ``Report.left``.
    """
    chosen = settings if settings is not None else RunSettings.from_env()
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_sync(folder, closed_by, chosen, transport, clock.monotonic() + timeout_s))


async def _sync(
    folder: Path, closed_by: str, settings: RunSettings, transport: Transport | None, deadline: float
) -> Report:
    report = Report()
    found = sorted(find_sessions(folder), key=lambda item: item[0].created)
    blocked: set[int | None] = set()
    try:
        for about, path in found:
            if about.job_id is None:
                continue  # a run without a job: there is nowhere to send it
            if about.job_id in blocked:
                report.left[path] = "an earlier session of this job is not in the log yet"
                continue
            try:
                session = await _claim(path, about)
            except SessionInUse:
                report.in_use.append(path)
                continue
            except FileNotFoundError:
                report.shipped.append(path)  # somebody else was faster
                continue
            except (OSError, ValueError, TypeError) as error:
                report.left[path] = f"cannot be read: {error}"
                continue
            try:
                transport = transport if transport is not None else choose_transport(settings)
                reason = await _finish(session, closed_by, settings, transport, deadline)
            except TransportError as error:
                reason = str(error)
            except OSError as error:
                reason = f"cannot be written: {error}"
            if reason is None:
                session.delete()
                report.shipped.append(path)
            else:
                session.let_go()
                report.left[path] = reason
                blocked.add(about.job_id)
    finally:
        if transport is not None:
            await transport.close()
    return report


def find_sessions(folder: Path) -> list[tuple[About, Path]]:
    """Every session folder at or below ``folder``."""
    sessions = []
    for path in [folder / "session.json", *folder.glob("*/session.json"), *folder.glob("*/*/session.json")]:
        if path.parent.name.endswith(".done"):
            continue
        try:
            sessions.append((About(**orjson.loads(path.read_bytes())), path.parent))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError) as error:
            logger.warning("training_sdk: %s is no session's description: %s", path, error)
    return sessions


async def _claim(path: Path, about: About) -> Session:
    """Take the folder over. One whose owner is gone but which is locked is being shipped: wait for that a little."""
    end = clock.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return Session.recover(path)
        except SessionInUse:
            if clock.monotonic() > end or _alive(about):
                raise
        await asyncio.sleep(0.1)


def _alive(about: About) -> bool:
    if about.opened.get("hostname") != socket.gethostname():
        return True
    try:
        os.kill(about.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _finish(
    session: Session, closed_by: str, settings: RunSettings, transport: Transport, deadline: float
) -> str | None:
    """Bring one session to its end. Returns why it is not there, None when it is."""
    if session.spool.torn_bytes:
        logger.warning(
            "training_sdk: %s: %d bytes at the end of a segment were no whole frame and are left out",
            session.folder,
            session.spool.torn_bytes,
        )
    while session.pump(recovering=True):
        pass
    problem = await _ship(session, transport, deadline)
    if problem is not None:
        return problem
    left = _finish_uploads(session, settings)
    session.pump(release=True)
    if left is None:
        session.close_events(closed_by)
    problem = await _ship(session, transport, deadline)
    return problem if problem is not None else left


def _finish_uploads(session: Session, settings: RunSettings) -> str | None:
    def announce(event: str, data: dict[str, Any], number: int) -> None:
        given = {key: value for key, value in data.items() if value is not None}
        now = utc_text(clock.time())
        session.pump([Draft(wire.JOBS, event, now, orjson.dumps(given), upload=number)])

    uploads = UploadQueue(session.folder, lambda: open_store(settings), announce, session.spool.state.announced)
    failures = 0
    while uploads.pending:
        try:
            uploads.work()
        except STORE_ERRORS as error:
            failures += 1
            if failures >= UPLOAD_TRIES:
                return f"{uploads.pending} file(s) cannot be uploaded: {error}"
            clock.sleep(backoff_s(failures))
    return None


async def _ship(session: Session, transport: Transport, deadline: float) -> str | None:
    failures = 0
    while (unsent := session.spool.unsent()) is not None:
        try:
            if unsent.events:
                async with asyncio.timeout(max(0.1, deadline - clock.monotonic())):
                    await transport.send(unsent.events)
        except (TransportError, TimeoutError) as error:
            failures += 1
            pause = backoff_s(failures)
            if clock.monotonic() + pause >= deadline:
                return str(error) or "out of time"
            await asyncio.sleep(pause)
        else:
            failures = 0
            session.spool.forget(unsent)
    return None


def report_process_exited(
    *,
    exit_code: int | None = None,
    signal: str | None = None,
    pid: int | None = None,
    reason: str | None = None,
    settings: RunSettings | None = None,
    transport: Transport | None = None,
    timeout_s: float = 10.0,
) -> bool:
    """Record how a trainer's process ended; see ``report_from_outside``.

    Call it after ``sync`` of the trainer's own folders; where those could not be shipped, this one waits behind them.
    """
    data = {"pid": pid, "exit_code": exit_code, "signal": signal, "reason": reason, "hostname": socket.gethostname()}
    return report_from_outside(wire.PROCESS_EXITED, data, settings=settings, transport=transport, timeout_s=timeout_s)


def report_from_outside(
    type_name: str,
    data: dict[str, Any],
    *,
    settings: RunSettings | None = None,
    transport: Transport | None = None,
    timeout_s: float = 10.0,
) -> bool:
    """Say something about a trainer, as a session of its own: spool first, so it is not lost without a broker.

    Secrets of the environment are masked, as in what the trainer says itself; a long ``reason`` is cut after that.
    True when it is in the log now; else the next ``sync`` of the spool folder ships it.
    Raises OSError when the spool cannot be written, ValueError without a job id.
    """
    chosen = settings if settings is not None else RunSettings.from_env()
    if chosen.job_id is None:
        raise ValueError("JOB_ID is not set; whose trainer is it?")
    about = about_this_process(chosen, "supervisor")
    masked = Secrets(chosen.environment).masked_all(data)
    given = {name: value for name, value in masked.items() if value is not None}
    if isinstance(given.get("reason"), str):
        given["reason"] = given["reason"][:REASON_LENGTH_MAX]
    session = Session.create(chosen.spool_dir, about, ring_bytes=4096)
    session.pump([Draft(wire.JOBS, type_name, utc_text(clock.time()), orjson.dumps(given))])
    session.close_events("supervisor")
    session.drop_ring()
    session.let_go()
    report = sync(session.folder.parent, "supervisor", settings=chosen, transport=transport, timeout_s=timeout_s)
    return session.folder in report.shipped
