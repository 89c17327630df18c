"""A ring of records in a memory-mapped file: where a reporting call leaves its words.

The file is allocated and touched when it is opened, so that an append is a few memory copies: no system call, no page
to find, no disk to be full. The pages belong to the kernel, so they outlive a kill -9 of the process.

Layout, little endian: a header page (magic, capacity, head, three counters of dropped records), then ``capacity`` bytes
of records. A record is length (u32), crc32 of the payload (u32), payload, padding to 8 bytes. It never wraps: a length
of 0xFFFFFFFF says that the rest up to the end is empty. Positions count bytes since the beginning and only grow. How
far the ring is consumed is not written here but with every frame of the spool.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import Final
from zlib import crc32

HEADER_BYTES: Final = 4096
CAPACITY_BYTES: Final = 16 * 1024 * 1024
"""Holds some 80,000 calls with six metrics each; the sender empties it several times a second."""
RECORD_BYTES_MAX: Final = 512 * 1024
LOCK_TIMEOUT_S: Final = 0.2
"""Longest wait for another thread's append; met only by a signal handler that interrupted an append."""

_MAGIC: Final = b"EPLRING1"
_HEAD_AT: Final = 16
_DROPPED_AT: Final = 24
_U64: Final = struct.Struct("<Q")
_PREFIX: Final = struct.Struct("<II")
_EMPTY_REST: Final = 0xFFFFFFFF

METRIC, LOG, LIFECYCLE = 0, 1, 2
"""What a record is about; metrics and logs are dropped before lifecycle is ever touched."""
KINDS: Final = (METRIC, LOG, LIFECYCLE)


class RingError(ValueError):
    """The file is not a ring of ours, or a record in it is damaged."""


class Ring:
    """One writer side (any thread of one process) and one reader (the sender, or whoever drains it later)."""

    def __init__(self, path: Path, buffer: mmap.mmap, capacity: int) -> None:
        self.path = path
        self.capacity = capacity
        self.tail = 0
        """Set by the reader: everything before it lies in the spool."""
        self._buffer = buffer
        self._head: int = _U64.unpack_from(buffer, _HEAD_AT)[0]
        self._lock = threading.Lock()
        reserve = min(1024 * 1024, capacity // 4)
        self._limits = (capacity - reserve, capacity - reserve // 2, capacity)

    @classmethod
    def create(cls, path: Path, capacity: int = CAPACITY_BYTES) -> Ring:
        """A new ring file. ``capacity`` in bytes, a power of two. Raises OSError (also when the disk is full)."""
        if capacity & (capacity - 1) or capacity < 4096:
            raise ValueError(f"capacity is {capacity}, wanted a power of two of at least 4096")
        size = HEADER_BYTES + capacity
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Without the blocks, a write into the mapping of a sparse file on a full disk is a SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            buffer = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        zeros = bytes(1024 * 1024)
        for start in range(0, size, len(zeros)):
            end = min(start + len(zeros), size)
            buffer[start:end] = zeros[: end - start]
        buffer[0:8] = _MAGIC
        _U64.pack_into(buffer, 8, capacity)
        return cls(path, buffer, capacity)

    @classmethod
    def open(cls, path: Path) -> Ring:
        """An existing ring file. Raises OSError, or RingError when it is none."""
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER_BYTES:
                raise RingError(f"{path} has {size} bytes, too few for a ring")
            buffer = mmap.mmap(file.fileno(), size)
        capacity: int = _U64.unpack_from(buffer, 8)[0]
        if buffer[0:8] != _MAGIC or capacity != size - HEADER_BYTES:
            buffer.close()
            raise RingError(f"{path} is not a ring of this version")
        return cls(path, buffer, capacity)

    @property
    def head(self) -> int:
        return self._head

    def append(self, payload: bytes, kind: int) -> bool:
        """Write a record; False when there is no room for its kind. Never raises, never waits for the reader."""
        size = (len(payload) + 15) & -8
        if not self._lock.acquire(False) and not self._lock.acquire(True, LOCK_TIMEOUT_S):  # two tries
            return False
        try:
            capacity = self.capacity
            head = self._head
            offset = head & (capacity - 1)
            room = capacity - offset
            end = head + size if room >= size else head + room + size
            if end - self.tail > self._limits[kind] or size > RECORD_BYTES_MAX:
                return False
            buffer = self._buffer
            at = HEADER_BYTES + offset
            if room < size:
                _PREFIX.pack_into(buffer, at, _EMPTY_REST, 0)
                at = HEADER_BYTES
            _PREFIX.pack_into(buffer, at, len(payload), crc32(payload))
            at += 8
            buffer[at : at + len(payload)] = payload
            # The head last: a record that is not behind it was never written.
            _U64.pack_into(buffer, _HEAD_AT, end)
            self._head = end
            return True
        finally:
            self._lock.release()

    def count_dropped(self, kind: int) -> None:
        """Remember that a record found no room; kept in the file, so that it is told even after a kill."""
        at = _DROPPED_AT + 8 * kind
        _U64.pack_into(self._buffer, at, _U64.unpack_from(self._buffer, at)[0] + 1)

    def dropped(self, kind: int) -> int:
        """Records of that kind that found no room since the ring was made."""
        count: int = _U64.unpack_from(self._buffer, _DROPPED_AT + 8 * kind)[0]
        return count

    def read(self, start: int, bytes_max: int, *, check: bool = False) -> tuple[list[bytes], int]:
        """Payloads from position ``start`` on, about ``bytes_max`` bytes of them, and the position after them.

        ``check`` compares checksums, for a file that another process left behind: reading ends before a damaged
        record (after a crash of the whole machine pages may be missing) and the position is then the head.
        """
        buffer, capacity, head = self._buffer, self.capacity, self._head
        payloads: list[bytes] = []
        position = start
        stop = min(head, start + bytes_max)
        while position < stop:
            offset = position & (capacity - 1)
            at = HEADER_BYTES + offset
            length, checksum = _PREFIX.unpack_from(buffer, at)
            if length == _EMPTY_REST:
                position += capacity - offset
                continue
            payload = buffer[at + 8 : at + 8 + length]
            if check and (length > RECORD_BYTES_MAX or crc32(payload) != checksum):
                return payloads, head
            payloads.append(payload)
            position += (length + 15) & -8
        return payloads, position

    def close(self) -> None:
        self._buffer.close()
