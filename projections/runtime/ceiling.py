"""A ceiling on dead letters: a few bad events are parked, many in a row mean that bad code is running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BAD_IN_A_ROW_MAX: Final = 20
WINDOW_RECORDS: Final = 1_000
BAD_SHARE_MAX: Final = 0.05


class CeilingReached(RuntimeError):
    """Too much is bad: the line stops here, nothing of the batch is applied."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a partition's recent records were like. Pure; kept in its offset row."""

    bad_in_a_row: int = 0
    window_records: int = 0
    window_bad: int = 0

    def after(self, *, bad: bool) -> Ceiling:
        """Raises CeilingReached."""
        fresh = self.window_records >= WINDOW_RECORDS
        following = Ceiling(
            bad_in_a_row=self.bad_in_a_row + 1 if bad else 0,
            window_records=1 if fresh else self.window_records + 1,
            window_bad=int(bad) if fresh else self.window_bad + int(bad),
        )
        if following.bad_in_a_row > BAD_IN_A_ROW_MAX:
            raise CeilingReached(f"more than {BAD_IN_A_ROW_MAX} bad records in a row")
        if following.window_bad > WINDOW_RECORDS * BAD_SHARE_MAX:
            raise CeilingReached(f"more than {BAD_SHARE_MAX:.0%} of {WINDOW_RECORDS} records are bad")
        return following
