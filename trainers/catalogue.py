"""The frameworks there are trainers for."""

from __future__ import annotations

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
