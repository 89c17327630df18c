"""How data of an older version become data of the next: one step a version, dict to dict.

A step gets whatever stands in the log under the old version, before anything was checked: it may add and rename, and
must not raise for any dict. Standard library only: the service (``events.registry``) reads by the same steps as
``training_sdk.replay``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

JsonObject = dict[str, Any]
Step = Callable[[JsonObject], JsonObject]


def checkpoint_saved_1_to_2(data: JsonObject) -> JsonObject:
    """Version 1 did not say after which step the checkpoint was written."""
    return {**data, "step": None}


def session_opened_1_to_2(data: JsonObject) -> JsonObject:
    """Version 1 did not say after how many epochs the attempt goes on, nor whether it begins anew."""
    return {**data, "resume_epoch": None}


STEPS: Final[Mapping[str, Step]] = {
    "training.checkpoint.saved.v1": checkpoint_saved_1_to_2,
    "training.session.opened.v1": session_opened_1_to_2,
}
"""Type as written, and what makes its data those of the next version. What is not here is the newest of its type."""


def newest(type_name: str, data: JsonObject) -> JsonObject:
    """The data as the newest version of the type would have them."""
    while (step := STEPS.get(type_name)) is not None:
        data = step(data)
        name, _, version = type_name.rpartition(".v")
        type_name = f"{name}.v{int(version) + 1}"
    return data
