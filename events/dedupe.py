"""Which numbers of a session were seen: every event counts once, however often it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GAPS_MAX: Final = 1_000
"""Open gaps kept per session and topic. A sender numbers without gaps, so more than a few means a broken sender."""


class TooManyGaps(ValueError):
    """The session skips numbers all the time: it is no sender of ours."""


@dataclass(frozen=True, slots=True)
class SessionMarks:
    """``high`` is the highest seq seen; ``gaps`` are inclusive ranges below it that were not seen, ascending."""

    high: int = 0
    gaps: tuple[tuple[int, int], ...] = ()

    def seen(self, seq: int) -> bool:
        return seq <= self.high and not any(low <= seq <= last for low, last in self.gaps)

    def accept(self, seq: int) -> tuple[SessionMarks, bool]:
        """The marks after ``seq``, and whether it is new.

        Raises TooManyGaps when a new gap would exceed GAPS_MAX.
        """
        if seq > self.high:
            if seq == self.high + 1:
                return SessionMarks(seq, self.gaps), True
            if len(self.gaps) >= GAPS_MAX:
                raise TooManyGaps(f"seq {seq} would open gap number {len(self.gaps) + 1}")
            return SessionMarks(seq, (*self.gaps, (self.high + 1, seq - 1))), True
        for index, (low, last) in enumerate(self.gaps):
            if low <= seq <= last:
                rest = tuple(gap for gap in ((low, seq - 1), (seq + 1, last)) if gap[0] <= gap[1])
                return SessionMarks(self.high, (*self.gaps[:index], *rest, *self.gaps[index + 1 :])), True
        return self, False

    @property
    def missing(self) -> int:
        return sum(last - low + 1 for low, last in self.gaps)
