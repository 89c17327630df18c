"""Segment files: an event lies here, with its number, before it is sent, and leaves when it is acknowledged.

A segment is a row of frames: length (u32), crc32 (u32), body. A body is the length of its head (u32), the head (JSON:
the state after the frame, and topic, type, time, seq and size of each event) and the events' data. One frame holds all
events of one drain of the ring and says how far the ring is consumed, so a call is numbered exactly once. Each segment
begins with a frame without events, so that the state outlives the segments before it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from training_sdk.wire import WireEvent

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SPOOL_BYTES_MAX: Final = 1024 * 1024 * 1024
RESERVE_BYTES: Final = 1024 * 1024
"""Kept allocated beside the segments, and given up when the disk is full, so that lifecycle events find room."""
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024

_PREFIX: Final = struct.Struct("<II")
_U32: Final = struct.Struct("<I")
_CURSOR: Final = struct.Struct("<QQI")


@dataclass(slots=True)
class State:
    """All that a later reader of the folder must know. ``ring``: position up to which the ring lies in the spool;
    ``overflow``: the same of the overflow file; ``dropped``: drops already told, by kind; ``announced``: number of the
    newest upload whose announcement is here; ``waiting``: events without a number yet, held back for uploads."""

    seqs: dict[str, int] = field(default_factory=dict)
    ring: int = 0
    overflow: int = 0
    dropped: list[int] = field(default_factory=lambda: [0, 0, 0])
    announced: int = 0
    waiting: list[list[Any]] = field(default_factory=list)
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the events are from: what all of them have in common."""

    key: str
    source: str
    attempt: int
    rank: int
    session: str


@dataclass(frozen=True, slots=True)
class Unsent:
    """Events to send next, and the place in the spool after them."""

    events: list[WireEvent]
    segment: int
    offset: int


class Spool:
    """The segments of one session. Used by one thread at a time."""

    def __init__(self, folder: Path, sender: Sender, *, bytes_max: int = SPOOL_BYTES_MAX) -> None:
        """Open or begin the segments in ``folder``. A torn frame at the end is cut off. Raises OSError."""
        self.folder = folder
        self.bytes_max = bytes_max
        self.state = State()
        self.torn_bytes = 0
        """Bytes at the ends of segments that were no whole frame: a machine stopped while they were written."""
        self._sender = sender
        self._sizes = {int(path.stem.partition("-")[2]): path.stat().st_size for path in folder.glob("segment-*.log")}
        for number in sorted(self._sizes):
            self._recover(number)
        self._acked = self._read_cursor()
        if self._sizes:
            self._active = max(self._sizes)
            self._file = os.open(self._path(self._active), os.O_RDWR | os.O_CLOEXEC)
        else:
            self._active = 0
            self._file = -1
            self._roll()
        self._reserve_room()

    @property
    def size_bytes(self) -> int:
        return sum(self._sizes.values())

    @property
    def all_sent(self) -> bool:
        return self._acked == (self._active, self._sizes[self._active])

    def append(self, events: Sequence[WireEvent], state: State, *, durable: bool) -> None:
        """Write one frame, with ``state`` as it is after these events; ``durable``: wait for the disk.

        Raises OSError (a full disk) with nothing half-written.
        """
        if self._sizes[self._active] > SEGMENT_BYTES:
            self._roll()
        self._write(events, state)
        self.state = state
        if durable:
            os.fdatasync(self._file)

    def give_up_reserve(self) -> bool:
        """Free the room that is kept for a full disk. False when it is gone already."""
        try:
            (self.folder / "reserve.bin").unlink()
        except FileNotFoundError:
            return False
        return True

    def unsent(self, bytes_max: int = 1024 * 1024, events_max: int = 500) -> Unsent | None:
        """The next events to send, as they were written; None when all are acknowledged."""
        segment, offset = self._acked
        events: list[WireEvent] = []
        size = 0
        while segment in self._sizes:
            for frame, end in self._frames(segment, offset):
                offset = end
                events.extend(frame)
                size += sum(len(event.data) for event in frame)
                if size >= bytes_max or len(events) >= events_max:
                    return Unsent(events, segment, offset)
            later = [number for number in self._sizes if number > segment]
            if not later:
                break
            segment, offset = min(later), 0
        if (segment, offset) == self._acked and not events:
            return None
        return Unsent(events, segment, offset)

    def forget(self, sent: Unsent) -> None:
        """These events are acknowledged: remember it, and delete the segments before."""
        self._acked = (sent.segment, sent.offset)
        place = _CURSOR.pack(sent.segment, sent.offset, crc32(_CURSOR.pack(sent.segment, sent.offset, 0)))
        descriptor = os.open(self.folder / "acked", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, place, 0)
        finally:
            os.close(descriptor)
        for number in [number for number in self._sizes if number < sent.segment]:
            del self._sizes[number]
            self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _path(self, number: int) -> Path:
        return self.folder / f"segment-{number:08d}.log"

    def _roll(self) -> None:
        number = self._active + 1
        file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        before = (self._file, self._active)
        self._file, self._active = file, number
        self._sizes[number] = 0
        try:
            self._write((), self.state)
        except OSError:
            os.close(file)
            del self._sizes[number]
            self._path(number).unlink(missing_ok=True)
            self._file, self._active = before
            raise
        if before[0] >= 0:
            os.fdatasync(before[0])
            os.close(before[0])

    def _write(self, events: Sequence[WireEvent], state: State) -> None:
        head = orjson.dumps(
            {
                "state": asdict(state),
                "events": [[event.topic, event.type, event.time, event.seq, len(event.data)] for event in events],
            }
        )
        body = b"".join((_U32.pack(len(head)), head, *(event.data for event in events)))
        frame = _PREFIX.pack(len(body), crc32(body)) + body
        start = self._sizes[self._active]
        written = 0
        try:
            while written < len(frame):
                written += os.pwrite(self._file, frame[written:], start + written)
        except OSError:
            os.ftruncate(self._file, start)
            raise
        self._sizes[self._active] = start + len(frame)

    def _recover(self, number: int) -> None:
        end = 0
        for head, end in self._heads(number):  # noqa: B007 # the end of the last whole frame is used below
            self.state = State(**head["state"])
        if end < self._sizes[number]:
            self.torn_bytes += self._sizes[number] - end
            os.truncate(self._path(number), end)
            self._sizes[number] = end

    def _heads(self, number: int) -> Iterator[tuple[dict[str, Any], int]]:
        for body, end in self._bodies(number, 0):
            length = _U32.unpack_from(body)[0]
            yield orjson.loads(body[4 : 4 + length]), end

    def _frames(self, number: int, offset: int) -> Iterator[tuple[list[WireEvent], int]]:
        for body, end in self._bodies(number, offset):
            length = _U32.unpack_from(body)[0]
            head = orjson.loads(body[4 : 4 + length])
            events = []
            at = 4 + length
            for topic, name, time, seq, size in head["events"]:
                events.append(
                    WireEvent(
                        topic=topic,
                        key=self._sender.key,
                        type=name,
                        time=time,
                        source=self._sender.source,
                        attempt=self._sender.attempt,
                        rank=self._sender.rank,
                        session=self._sender.session,
                        seq=seq,
                        data=body[at : at + size],
                    )
                )
                at += size
            yield events, end

    def _bodies(self, number: int, offset: int) -> Iterator[tuple[bytes, int]]:
        """Whole frames of a segment, each with the offset after it; ends before the first that is not whole."""
        with self._path(number).open("rb") as file:
            file.seek(offset)
            while len(prefix := file.read(_PREFIX.size)) == _PREFIX.size:
                length, checksum = _PREFIX.unpack(prefix)
                if not 4 <= length <= FRAME_BYTES_MAX:
                    return
                body = file.read(length)
                if len(body) < length or crc32(body) != checksum:
                    return
                offset += _PREFIX.size + length
                yield body, offset

    def _read_cursor(self) -> tuple[int, int]:
        first = (min(self._sizes, default=1), 0)
        try:
            raw = (self.folder / "acked").read_bytes()
        except FileNotFoundError:
            return first
        if len(raw) != _CURSOR.size:
            return first
        segment, offset, checksum = _CURSOR.unpack(raw)
        if checksum != crc32(_CURSOR.pack(segment, offset, 0)) or offset > self._sizes.get(segment, -1):
            return first
        return segment, offset

    def _reserve_room(self) -> None:
        if self.state.closed:
            return
        descriptor = os.open(self.folder / "reserve.bin", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            self.give_up_reserve()  # no room even now: then there is none to keep
        finally:
            os.close(descriptor)
