"""Sets of whole numbers as inclusive ranges, ascending and apart: a sender's numbers may be billions. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]


def count(ranges: Ranges) -> int:
    return sum(last - low + 1 for low, last in ranges)


def up_to(ranges: Ranges, largest: int) -> Ranges:
    return tuple((low, min(last, largest)) for low, last in ranges if low <= largest)


def in_both(one: Ranges, other: Ranges) -> Ranges:
    found = []
    mine, others = list(one), list(other)
    while mine and others:
        low, last = max(mine[0][0], others[0][0]), min(mine[0][1], others[0][1])
        if low <= last:
            found.append((low, last))
        (mine if mine[0][1] < others[0][1] else others).pop(0)
    return tuple(found)


def without(ranges: Ranges, numbers: Iterable[int]) -> Ranges:
    for number in sorted(set(numbers)):
        cut: list[tuple[int, int]] = []
        for low, last in ranges:
            parts = ((low, number - 1), (number + 1, last)) if low <= number <= last else ((low, last),)
            cut += [part for part in parts if part[0] <= part[1]]
        ranges = tuple(cut)
    return ranges


def text(ranges: Ranges) -> str:
    return ", ".join(str(low) if low == last else f"{low} to {last}" for low, last in ranges)
