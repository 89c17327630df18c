"""The attempts of a run, as early stopping follows them. Pure: the live fold and the what-if are both made of this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from events.early_stopping import read_settings
from events.types.vocabulary import JsonObject
from projections.early_stop.rules import State
from projections.early_stop.watch import next_attempt


@dataclass(frozen=True, slots=True)
class Attempt:
    """``settings`` as its session gave them; a ``state`` of None: nobody watches it."""

    settings: JsonObject | None
    state: State | None


def opened(attempts: Mapping[int, Attempt], number: int, settings: JsonObject | None) -> Attempt | None:
    """The attempt as a session of it opens it; None where it is settled already.

    The first settings that a session of the attempt names are the attempt's. It goes on where the newest of the older
    attempts that were watched stands.
    """
    known = attempts.get(number)
    if known is not None and (known.settings is not None or settings is None):
        return None
    if not read_settings(settings)[0].enabled:
        return Attempt(settings, None)
    older = [(other, attempt.state) for other, attempt in attempts.items() if other < number]
    watched = {other: state for other, state in older if state is not None}
    return Attempt(settings, next_attempt(watched[max(watched)]) if watched else State())
