"""The values that a watched metric had, one an epoch, over all attempts of a run. Pure.

Reports come as they come: epochs out of order and again, in steps or as a whole, once more from a later attempt. What
counts of an epoch is the report made for it as a whole (its last one), else its last step; and the latest attempt's
word for every epoch from the first one that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from events.types.vocabulary import MetricValue

EPOCHS_MAX: Final = 256
"""Epochs kept one by one; of older ones the best is remembered."""

Better = Callable[[float, float], bool]
"""Whether the first value is better than the second."""


@dataclass(frozen=True, slots=True)
class EpochValue:
    """``whole``: reported for the epoch, not for a step of it. ``offset`` is the report's place in the log."""

    name: str
    attempt: int
    epoch: int
    step: int | None
    whole: bool
    value: MetricValue
    offset: int


@dataclass(frozen=True, slots=True)
class History:
    """``epochs`` ascend, ``first`` is the very first one. ``forgotten`` is the last one that is too old to be kept, and
    ``best_forgotten`` the best value up to it. ``inherited`` is the last one that an older attempt wrote."""

    epochs: tuple[EpochValue, ...] = ()
    first: int | None = None
    forgotten: int | None = None
    best_forgotten: EpochValue | None = None
    inherited: int | None = None

    def best(self, better: Better) -> EpochValue | None:
        """The first value that no later one is better than; None when none is finite."""
        best = self.best_forgotten
        for candidate in self.epochs:
            if math.isfinite(candidate.value) and (best is None or better(candidate.value, best.value)):
                best = candidate
        return best

    def recorded(self, new: EpochValue, better: Better) -> History | None:
        """With this value; None when another one counts for its epoch."""
        if self.forgotten is not None and new.epoch <= self.forgotten:
            return None
        at = len(self.epochs)
        while at and self.epochs[at - 1].epoch >= new.epoch:
            at -= 1
        after = self.epochs[at:]
        if after and after[0].epoch == new.epoch:
            if not _counts_over(new, after[0]):
                return None
            after = after[1:]
        first = new.epoch if self.first is None else min(self.first, new.epoch)
        longer = replace(self, epochs=(*self.epochs[:at], new, *after), first=first)
        return longer if len(longer.epochs) <= EPOCHS_MAX else longer._shortened(better)

    def _shortened(self, better: Better) -> History:
        oldest, *kept = self.epochs
        of_oldest = History(epochs=(oldest,), best_forgotten=self.best_forgotten).best(better)
        return replace(self, epochs=tuple(kept), forgotten=oldest.epoch, best_forgotten=of_oldest)

    def inherited_by_the_next(self) -> History:
        """What a newer attempt begins with: it may go on where this one was."""
        last = self.epochs[-1].epoch if self.epochs else self.forgotten
        return replace(self, inherited=last)

    def superseded(self, attempt: int, epoch: int) -> History:
        """Without what older attempts wrote from ``epoch`` on: ``attempt`` writes it again."""
        if self.inherited is None or epoch > self.inherited:
            return self
        kept = tuple(value for value in self.epochs if value.attempt == attempt or value.epoch < epoch)
        best, first = self.best_forgotten, self.first
        if best is not None and best.attempt < attempt and best.epoch >= epoch:
            best = None
        if first is not None and first >= epoch:
            first = kept[0].epoch if kept else None
        return replace(
            self,
            epochs=kept,
            first=first,
            forgotten=None if self.forgotten is None else min(self.forgotten, epoch - 1),
            best_forgotten=best,
            inherited=epoch - 1,
        )


def _counts_over(new: EpochValue, old: EpochValue) -> bool:
    if new.attempt != old.attempt:
        return new.attempt > old.attempt
    if new.whole != old.whole:
        return new.whole
    return new.whole or (new.step or 0) >= (old.step or 0)
