"""A worker that stands still while there is work and its database answers is stuck: better dead and restarted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

STANDSTILL_MAX_S: Final = 60.0

Offsets = Mapping[tuple[str, int], int]
"""(projection, partition) to the next offset."""


@dataclass(slots=True)
class Watchdog:
    """Fed with what is applied and what there is; pure but for its memory."""

    standstill_max_s: float = STANDSTILL_MAX_S
    _seen: dict[tuple[str, int], tuple[int, float]] = field(default_factory=dict)

    def stuck(self, applied: Offsets, ends: Offsets, now_s: float) -> list[str]:
        """The partitions that have lag and did not move for too long, for people. ``now_s`` is monotonic."""
        found = []
        for place, end in ends.items():
            offset = applied.get(place, 0)
            before, since = self._seen.get(place, (-1, now_s))
            if offset != before or offset >= end:
                self._seen[place] = (offset, now_s)
            elif now_s - since > self.standstill_max_s:
                projection, partition = place
                found.append(f"{projection}[{partition}] stands at {offset} of {end} for {now_s - since:.0f} s")
        return found
