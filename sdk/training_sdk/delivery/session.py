"""One sender's folder: ring, spool, lock, and the numbers that its events get.

Driven by the sender thread while the process lives, and by ``sync`` afterwards; both do the same with the same bytes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import struct
import threading
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from training_sdk import wire
from training_sdk.delivery.packer import Call, Draft, log_drafts, log_line, no_tensor, pack, utc_text
from training_sdk.delivery.ring import CAPACITY_BYTES, KINDS, LIFECYCLE, LOG, METRIC, Ring, RingError
from training_sdk.delivery.spool import Sender, Spool, State

DRAIN_BYTES: Final = 256 * 1024
PROBLEMS_MAX: Final = 100
"""Different complaints about calls that one session makes at most."""
DURABLE: Final = frozenset(
    {
        wire.SESSION_CLOSED,
        wire.JOB_STARTED,
        wire.CHECKPOINT_SAVED,
        wire.ARTIFACT_SAVED,
        wire.JOB_COMPLETED,
        wire.JOB_FAILED,
        wire.JOB_STOPPED,
        wire.PROCESS_EXITED,
    }
)
_DROPPED_ON: Final = {METRIC: wire.METRICS, LOG: wire.LOGS, LIFECYCLE: wire.JOBS}
_FRAME: Final = struct.Struct("<II")

logger = logging.getLogger("training_sdk")


class SessionInUse(Exception):
    """Another process owns the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Written beside the session's data, so that whoever finds the folder can ship it."""

    job_id: int | None
    attempt: int
    rank: int
    session: str
    source: str
    opened: dict[str, Any]
    """Data of session.opened."""
    pid: int
    created: float
    """Unix seconds."""


class Session:
    """Ring and spool of one session. ``post`` may be called from any thread, the rest from one."""

    def __init__(self, folder: Path, about: About, lock: int, ring: Ring | None, spool: Spool) -> None:
        self.folder = folder
        self.about = about
        self.ring = ring
        self.spool = spool
        self.owned = True
        self._lock = lock
        self._overflow_lock = threading.Lock()
        self._overflowed = spool.state.overflow
        self._problems: set[str] = set()

    @classmethod
    def create(cls, root: Path, about: About, *, ring_bytes: int = CAPACITY_BYTES) -> Session:
        """A new folder ``job-<id>/<attempt>-<rank>-<session>`` below ``root``. Raises OSError."""
        job = "none" if about.job_id is None else str(about.job_id)
        folder = root / f"job-{job}" / f"{about.attempt}-{about.rank}-{about.session}"
        folder.mkdir(parents=True, mode=0o700)
        lock = _lock(folder)
        (folder / "session.json.new").write_bytes(orjson.dumps(asdict(about)))
        ring = Ring.create(folder / "ring.bin", ring_bytes)
        spool = Spool(folder, _sender(about))
        # The description last: a folder without it holds nothing yet.
        (folder / "session.json.new").rename(folder / "session.json")
        return cls(folder, about, lock, ring, spool)

    @classmethod
    def recover(cls, folder: Path) -> Session:
        """A folder that its owner left. Raises SessionInUse, OSError, ValueError when it is none of ours."""
        lock = _lock(folder)
        try:
            about = About(**orjson.loads((folder / "session.json").read_bytes()))
            spool = Spool(folder, _sender(about))
            try:
                ring = Ring.open(folder / "ring.bin")
            except FileNotFoundError:
                ring = None
            except RingError as error:
                logger.warning("training_sdk: %s; what was still in it is lost", error)
                ring = None
        except (OSError, ValueError, TypeError):
            os.close(lock)
            raise
        session = cls(folder, about, lock, ring, spool)
        aside = folder / "overflow.log"
        if aside.exists():
            session._overflowed = max(session._overflowed, aside.stat().st_size)
        return session

    def post(self, payload: bytes, kind: int) -> bool:
        """Put an encoded call into the ring. A lifecycle call that finds no room goes to a file instead.

        Returns False when it was dropped (and counted). Raises OSError only for lifecycle calls, with a full disk.
        """
        if self.ring is None:
            return False
        if kind == LIFECYCLE and self._overflowed > self.spool.state.overflow:
            return self._post_aside(payload)  # order: no later call overtakes one that lies aside
        if self.ring.append(payload, kind):
            return True
        if kind == LIFECYCLE:
            return self._post_aside(payload)
        self.ring.count_dropped(kind)
        return False

    def _post_aside(self, payload: bytes) -> bool:
        with self._overflow_lock:
            descriptor = os.open(
                self.folder / "overflow.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                frame = _FRAME.pack(len(payload), crc32(payload)) + payload
                if os.write(descriptor, frame) != len(frame):
                    raise OSError(28, "no room left for a lifecycle event")
                self._overflowed += len(frame)
            finally:
                os.close(descriptor)
        return True

    @property
    def drained(self) -> bool:
        state = self.spool.state
        return (self.ring is None or state.ring >= self.ring.head) and state.overflow >= self._overflowed

    def pump(
        self,
        extra: Sequence[Draft] = (),
        *,
        tensor: Callable[[int], float | None] = no_tensor,
        recovering: bool = False,
        release: bool = False,
    ) -> bool:
        """Move calls from the ring into the spool, ``extra`` events after them. True when there may be more.

        ``release``: events that wait for uploads wait no longer. A full disk drops metrics, logs and samples of this
        drain and says so later; lifecycle stays in the ring until there is room. Raises OSError in that case.
        """
        state = _copy(self.spool.state)
        payloads: list[bytes] = []
        if self.ring is not None:
            payloads, state.ring = self.ring.read(state.ring, DRAIN_BYTES, check=recovering)
            more = state.ring < self.ring.head
        else:
            more = False
        if not more:
            aside, state.overflow = self._read_overflow(state.overflow)
            if recovering:
                self._overflowed = state.overflow  # a torn record at the end was never accepted
            payloads.extend(aside)
        packed = pack(_calls(payloads), tensor)
        drafts = packed.drafts + self._complaints(packed.problems) + list(extra)
        ready: list[Draft] = []
        for draft in drafts:
            if draft.after_uploads:
                state.waiting.append([draft.topic, draft.type, draft.time, draft.data.decode()])
                continue
            state.announced = max(state.announced, draft.upload)
            ready.append(draft)
        if release and not more:  # what is still in the ring may be the announcement that they wait for
            ready += [Draft(topic, name, time, data.encode()) for topic, name, time, data in state.waiting]
            state.waiting = []
        ready += self._drops(state)
        if not ready and state == self.spool.state:
            return more
        self._append(ready, state)
        if self.ring is not None:
            self.ring.tail = state.ring
        return more

    def release(self) -> None:
        """Number the events that waited for uploads."""
        self.pump(release=True)

    def close_events(self, closed_by: str) -> None:
        """Append session.closed, once."""
        if self.spool.state.closed:
            return
        state = _copy(self.spool.state)
        now = utc_text(clock.time())
        opened = [] if wire.JOBS in state.seqs else [Draft(wire.JOBS, wire.SESSION_OPENED, now, self._opened())]
        last = dict(state.seqs)
        last[wire.JOBS] = state.seqs.get(wire.JOBS, 0) + len(opened) + 1
        data = {"session": self.about.session, "last_seq": last, "closed_by": closed_by}
        state.closed = True
        self._append([*opened, Draft(wire.JOBS, wire.SESSION_CLOSED, now, orjson.dumps(data))], state)

    def drop_ring(self) -> None:
        """Delete the emptied ring file; for a folder that stays behind."""
        if self.ring is not None and self.drained:
            (self.folder / "ring.bin").unlink(missing_ok=True)

    def let_go(self) -> None:
        """Give the lock back; the folder stays for whoever ships it."""
        self.spool.close()
        self._unlock()

    def delete(self) -> None:
        """Everything is in the log: remove the folder."""
        self.spool.close()
        gone = self.folder.with_name(self.folder.name + ".done")
        self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        try:
            self.folder.parent.rmdir()
        except OSError:
            logger.debug("%s holds other sessions", self.folder.parent)
        self._unlock()

    def forget_in_child(self) -> None:
        """After a fork: the lock is the parent's; a child that kept it would hold the folder after the parent."""
        self.owned = False
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, drafts: Sequence[Draft], state: State) -> None:
        try:
            if self.spool.size_bytes > self.spool.bytes_max:
                self._append_lifecycle(drafts, state, f"the spool holds more than {self.spool.bytes_max} bytes")
            else:
                self._spool(drafts, state)
        except OSError as error:
            self.spool.give_up_reserve()
            self._append_lifecycle(drafts, state, f"the disk is full: {error.strerror}")

    def _append_lifecycle(self, drafts: Sequence[Draft], state: State, reason: str) -> None:
        kept = [draft for draft in drafts if draft.topic == wire.JOBS or draft.type == wire.EVENTS_DROPPED]
        lost: dict[str, int] = {}
        for draft in drafts:
            if draft not in kept:
                lost[draft.topic] = lost.get(draft.topic, 0) + calls_in(draft)
        kept += [_dropped(topic, count, reason) for topic, count in lost.items()]
        if kept or state != self.spool.state:
            self._spool(kept, state)

    def _spool(self, drafts: Sequence[Draft], state: State) -> None:
        seqs = dict(state.seqs)
        events: list[wire.WireEvent] = []
        for draft in drafts:
            if draft.topic not in seqs and draft.type != wire.SESSION_OPENED:
                seqs[draft.topic] = 1
                opened = Draft(draft.topic, wire.SESSION_OPENED, draft.time, self._opened())
                events.append(self._event(opened, 1))
            seqs[draft.topic] = seqs.get(draft.topic, 0) + 1
            events.append(self._event(draft, seqs[draft.topic]))
        self.spool.append(events, replace(state, seqs=seqs), durable=any(event.type in DURABLE for event in events))

    def _event(self, draft: Draft, seq: int) -> wire.WireEvent:
        return wire.WireEvent(
            topic=draft.topic,
            key=str(self.about.job_id),
            type=draft.type,
            time=draft.time,
            source=self.about.source,
            attempt=self.about.attempt,
            rank=self.about.rank,
            session=self.about.session,
            seq=seq,
            data=draft.data,
        )

    def _opened(self) -> bytes:
        return orjson.dumps(self.about.opened)

    def _drops(self, state: State) -> list[Draft]:
        drafts = []
        for kind in KINDS:
            if self.ring is not None and (count := self.ring.dropped(kind) - state.dropped[kind]) > 0:
                state.dropped[kind] += count
                drafts.append(_dropped(_DROPPED_ON[kind], count, "the ring was full: calls came faster than the disk"))
        return drafts

    def complain(self, problem: str) -> list[Draft]:
        """A log line of source sdk and a warning, the first time a problem is met."""
        return self._complaints([problem])

    def _complaints(self, problems: Sequence[str]) -> list[Draft]:
        lines = []
        for problem in problems:
            if problem in self._problems or len(self._problems) >= PROBLEMS_MAX:
                continue
            self._problems.add(problem)
            logger.warning("training_sdk: %s", problem)
            lines.append(log_line(clock.time(), "WARNING", problem, "sdk", None))
        return list(log_drafts(lines))

    def _read_overflow(self, start: int) -> tuple[list[bytes], int]:
        if start >= self._overflowed:
            return [], start
        payloads = []
        with (self.folder / "overflow.log").open("rb") as file:
            file.seek(start)
            while len(prefix := file.read(_FRAME.size)) == _FRAME.size:
                length, checksum = _FRAME.unpack(prefix)
                payload = file.read(length)
                if len(payload) < length or crc32(payload) != checksum:
                    break
                payloads.append(payload)
                start += _FRAME.size + length
        return payloads, start


def _calls(payloads: Sequence[bytes]) -> list[Call]:
    if not payloads:
        return []
    try:
        calls: list[Call] = orjson.loads(b"[" + b",".join(payloads) + b"]")
    except orjson.JSONDecodeError:
        return [call for payload in payloads for call in _call(payload)]
    return calls


def _call(payload: bytes) -> list[Call]:
    """One call on its own: a damaged record must not hold up the others for ever."""
    try:
        return [orjson.loads(payload)]
    except orjson.JSONDecodeError:
        logger.warning("training_sdk: a report cannot be read any more and is left out: %r", payload[:100])
        return []


def calls_in(draft: Draft) -> int:
    """How many calls an event stands for."""
    if draft.type == wire.METRICS_REPORTED:
        return len(orjson.loads(draft.data)["times"])
    if draft.type == wire.LOG_WRITTEN:
        return len(orjson.loads(draft.data)["lines"])
    return 1


def _dropped(topic: str, count: int, reason: str) -> Draft:
    data = orjson.dumps({"topic": topic, "count": count, "reason": reason})
    return Draft(topic, wire.EVENTS_DROPPED, utc_text(clock.time()), data)


def _copy(state: State) -> State:
    return State(
        dict(state.seqs),
        state.ring,
        state.overflow,
        list(state.dropped),
        state.announced,
        list(state.waiting),
        state.closed,
    )


def _sender(about: About) -> Sender:
    return Sender(str(about.job_id), about.source, about.attempt, about.rank, about.session)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SessionInUse(f"{folder} is in use") from error
    return descriptor
