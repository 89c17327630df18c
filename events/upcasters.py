"""How data of an older version become data of the next: one step a version, dict to dict, in ``events.registry``.

A step gets whatever stands in the log under the old version, before anything was checked: it may add and rename, and
must not raise for any dict.
"""

from __future__ import annotations

from events.types.vocabulary import JsonObject


def checkpoint_saved_1_to_2(data: JsonObject) -> JsonObject:
    """Version 1 did not say after which step the checkpoint was written."""
    return {**data, "step": None}


def session_opened_1_to_2(data: JsonObject) -> JsonObject:
    """Version 1 did not say after how many epochs the attempt goes on, nor whether it begins anew."""
    return {**data, "resume_epoch": None}
