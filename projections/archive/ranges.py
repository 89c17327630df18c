"""Sets of offsets as ranges. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Ranges = list[list[int]]
"""Offsets as [first, next] each, ascending: ``[[3, 5]]`` is 3 and 4."""


def ranges_of(offsets: Iterable[int], more: Ranges | None = None) -> Ranges:
    """``offsets`` and what ``more`` has already, as few ranges as possible."""
    singles = [[offset, offset + 1] for offset in offsets]
    merged: Ranges = []
    for first, following in sorted(singles + (more or [])):
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], following)
        else:
            merged.append([first, following])
    return merged


def count_of(ranges: Ranges) -> int:
    return sum(following - first for first, following in ranges)
