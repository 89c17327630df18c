"""Run lengths of a mask, as COCO writes them: column by column, first a run of background.

``{"size": [height, width], "counts": [5, 3, ...]}``, or ``counts`` as a string in COCO's packing: six bits a character
from "0" on, the sixth says that more follow, the fifth is the sign; from the fourth run on each is the difference to
the run two before (https://github.com/cocodataset/cocoapi, maskApi.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_FIRST: Final = 48
_MORE: Final = 0x20
_SIGN: Final = 0x10


def run_lengths(segmentation: Mapping[str, Any], width: int, height: int) -> list[int]:
    """Runs of background and object in turn, together exactly the picture. Raises ValueError."""
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"size {str(segmentation.get('size'))[:40]} is not [height, width] = [{height}, {width}]")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = unpacked(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise ValueError("counts are neither whole numbers from 0 nor a packed string")
    if sum(counts) != width * height:
        raise ValueError(f"counts are {sum(counts)} together, the picture has {width * height} pixels")
    return counts


def unpacked(text: str) -> list[int]:
    """The runs of a packed string. Raises ValueError."""
    counts: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        more = True
        while more:
            if position >= len(text):
                raise ValueError("counts end in the middle of a number")
            bits = ord(text[position]) - _FIRST
            if not 0 <= bits < 64 or shift > 30:
                raise ValueError(f"counts hold {text[position]!r} where no number can go on")
            value |= (bits & 0x1F) << shift
            more = bool(bits & _MORE)
            position, shift = position + 1, shift + 5
            if not more and bits & _SIGN:
                value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts
