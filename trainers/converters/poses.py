"""Keypoints of a data set as a whole: how many, and which ones change places when a picture is mirrored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from events.types.dice import DiceDocument

_OTHER_SIDE: Final = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z0-9]+")
"""Words of ``left_eye``, ``leftEye``, ``eye-L``, with what stands between them."""


@dataclass(frozen=True, slots=True)
class PoseShape:
    """``keypoints`` of every object; ``flip_index`` None: pictures must not be mirrored."""

    keypoints: int
    flip_index: list[int] | None
    notes: tuple[str, ...]

    def as_yaml(self) -> dict[str, object]:
        if not self.keypoints:
            return {}
        flipped = {"flip_idx": self.flip_index} if self.flip_index is not None else {}
        return {"kpt_shape": [self.keypoints, 3], **flipped}


def pose_shape(document: DiceDocument) -> PoseShape:
    lengths = {len(annotation.keypoints or []) // 3 for image in document.images for annotation in image.annotations}
    named = {tuple(entry.keypoints) for entry in document.classes if entry.keypoints}
    count = max(lengths | {len(names) for names in named}, default=0)
    flip_index = flipped(named.pop()) if len(named) == 1 else None
    if flip_index is not None and len(flip_index) == count:
        return PoseShape(count, flip_index, ())
    note = "the classes do not name their keypoints left and right in pairs: pictures are not mirrored"
    return PoseShape(count, None, (note,))


def flipped(names: Sequence[str]) -> list[int] | None:
    """For each keypoint the one that a mirror shows in its place; None when the names do not say."""
    if len(set(names)) < len(names):
        return None
    place = {name: number for number, name in enumerate(names)}
    partners = [mirrored(name) for name in names]
    if all(partner == name for partner, name in zip(partners, names, strict=True)):
        return None
    if any(partner not in place for partner in partners):
        return None
    return [place[partner] for partner in partners]


def mirrored(name: str) -> str:
    """``left_eye`` for ``right_eye``; a name without a side is its own."""
    return "".join(_other_side(word) for word in _WORD.findall(name))


def _other_side(word: str) -> str:
    other = _OTHER_SIDE.get(word.lower())
    if other is None:
        return word
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
