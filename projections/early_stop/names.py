"""Which of the names that trainers report under is the watched metric, and which are losses."""

from __future__ import annotations

from typing import Final

from events.types.vocabulary import Phase

PREFERENCE: Final = (Phase.VAL, Phase.TEST, Phase.TRAIN)
"""Where a watched name says no phase and several report it: the first of these counts."""

ALIASES: Final = {"accuracy_top1": "accuracy"}


def canonical(phase: str, key: str) -> str:
    """``metrics/mAP50(B)`` is ``mAP50``; a ``loss`` of validation is ``val_loss``."""
    name = key.removeprefix(f"{phase}/").removeprefix("metrics/").removesuffix("(B)")
    name = ALIASES.get(name, name)
    return "val_loss" if phase == Phase.VAL and name == "loss" else name


def preference(watched: str, phase: str, key: str) -> tuple[int, bool] | None:
    """How well a reported key fits the watched name: the smaller the better, None for not at all.

    First the phase's place in PREFERENCE, then False for the very name and True for another name of the same thing.
    """
    named_phase, _, name = watched.partition("/")
    if named_phase not in PREFERENCE or not name:
        named_phase, name = "", watched
    elif named_phase != phase:
        return None
    place = next((index for index, known in enumerate(PREFERENCE) if known == phase), len(PREFERENCE))
    if name in (key, key.removeprefix(f"{phase}/")):
        return place, False
    return (place, True) if canonical(named_phase, name) == canonical(phase, key) else None


def is_loss(key: str) -> bool:
    last = key.rpartition("/")[2]
    return last == "loss" or last.endswith("_loss")
