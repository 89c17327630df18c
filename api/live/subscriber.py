"""One WebSocket client's bounded buffer: what a slow client loses is said, what it keeps is in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from api.live.cursor import Cursor
from api.live.messages import CHECKPOINT, JOB_STATUS, Frame, Update

FRAMES_MAX: Final = 2_000
"""Frames that wait for one client; beyond, the oldest that may be left out is, and a gap is told."""
KEPT: Final = (JOB_STATUS, "error", CHECKPOINT, "snapshot")


@dataclass(slots=True, eq=False)
class Subscriber:
    """``job_id`` None means all jobs. ``full`` clients get every point and a cursor in each frame."""

    job_id: int | None
    full: bool = False
    cursor: Cursor | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lost: int = 0
    _waiting: deque[tuple[Frame, bytes | None]] = field(default_factory=deque)
    _held: list[Update] | None = None

    def hold(self) -> None:
        """Keep live updates back until the client has caught up; bounded like everything else."""
        self._held = []

    def release(self) -> None:
        """Let the held updates go, without what catching up brought already."""
        held, self._held = self._held or [], None
        for update in held:
            self.offer(update)

    def offer(self, update: Update) -> None:
        """Called for every update of the client's job (or of any job). Never waits."""
        if self._held is not None:
            if len(self._held) >= FRAMES_MAX:
                self._held.pop(0)
                self.lost += 1
            self._held.append(update)
            return
        if self.cursor is not None and not self.cursor.accept(update):
            return
        for frame in update.frames:
            self.put(frame)

    def put(self, frame: Frame) -> None:
        if self.job_id is not None and frame.type == "job_created":
            return
        cursor = self.cursor.encode() if self.full and self.cursor is not None else None
        if not self.full and frame.slot is not None:
            self._coalesce(frame)
        if len(self._waiting) >= FRAMES_MAX:
            self._leave_out_oldest()
        self._waiting.append((frame, cursor))
        self.wake.set()

    def _coalesce(self, frame: Frame) -> None:
        """A plain client is shown the newest point of a phase: an older one that still waits is replaced."""
        for index, (waiting, _) in enumerate(self._waiting):
            if waiting.slot == frame.slot:
                del self._waiting[index]
                return

    def _leave_out_oldest(self) -> None:
        for index, (waiting, _) in enumerate(self._waiting):
            if waiting.type not in KEPT:
                del self._waiting[index]
                self.lost += 1
                return
        self._waiting.popleft()
        self.lost += 1

    def take(self) -> list[str]:
        """All that waits, as texts; a full client is told first what it missed."""
        self.wake.clear()
        texts = []
        if self.lost and self.full:
            gap = Frame("gap", b'{"frames":%d}' % self.lost)
            texts.append(gap.text(full=True))
        self.lost = 0
        while self._waiting:
            frame, cursor = self._waiting.popleft()
            texts.append(frame.text(full=self.full, cursor=cursor))
        return texts
