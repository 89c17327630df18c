"""The frameworks there are trainers for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Framework:
    """``module`` is run as ``python -m``; it reads its job from the environment."""

    name: str
    module: str


FRAMEWORKS: Final = {
    framework.name: framework
    for framework in (
        # name                   module
        Framework("ultralytics", "trainers.ultralytics.train"),
    )
}


class InvalidCatalogue(ValueError):
    """EPOCHLOG_TRAINERS is not what it should be."""


def frameworks(more: str | None = None) -> dict[str, Framework]:
    """The trainers of this house, and those of yours: ``more`` is EPOCHLOG_TRAINERS, a JSON object of framework
    names and Python modules, e.g. ``{"mine": "my_package.train"}``. Raises InvalidCatalogue."""
    try:
        added = json.loads(more) if more else {}
    except ValueError as error:
        raise InvalidCatalogue(f"EPOCHLOG_TRAINERS is not JSON: {error}") from error
    if not isinstance(added, dict) or not all(isinstance(module, str) for module in added.values()):
        raise InvalidCatalogue('EPOCHLOG_TRAINERS must be an object such as {"mine": "my_package.train"}')
    return {**FRAMEWORKS, **{name: Framework(name, module) for name, module in added.items()}}
