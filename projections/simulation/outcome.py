"""What a rule would have saved and what it would have cost: of one run, and over all. Pure.

How it is counted:

- A run ends where a rule first decides. Of that attempt the rest is saved, and every later attempt.
- **Epochs saved**: those after the epoch that runs when the rule decides.
- **Hours saved**: from the report that decides it to the attempt's last sign of life, and later attempts from their
  first to their last; by the trainer's own clock. A trainer that stops only after its epoch gives back so much less.
- **GPU-hours**: hours times the GPUs that the run held, 0 on a CPU: there the hours of wall time are what is saved.
- **Metric lost**: the best value of the whole run minus the best one up to the decision, towards better: positive is a
  loss. The best of the run is that of the values that count at its end: it is negative where a later attempt wrote
  epochs anew and was worse. Relative: divided by the size of the run's best value.
- A run that a rule never ends is unchanged: it saves and loses nothing, and counts in every share and mean.
- **Censored**: early stopping ended the run when it was trained. What would have come after it is unknown, so a rule
  that would have let it go on longer saves nothing, and what the others save and lose are lower bounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from events.types.vocabulary import JsonObject, utc_text
from projections.early_stop.history import EpochValue
from projections.simulation.past_runs import PastRun
from projections.simulation.what_if import Score, Stop

SECONDS_PER_HOUR: Final = 3600.0


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Amount(_Answer):
    """``share``: saved of total, None where there is no total."""

    total: float
    saved: float
    share: float | None


class Value(_Answer):
    epoch: int
    value: float


class StoppedAt(_Answer):
    attempt: int
    epoch: int | None
    time: str
    rule: str
    reason: str
    partition: int
    offset: int


class RunOutcome(_Answer):
    """A run under a rule. ``stopped_at`` is None for one that the rule leaves unchanged; ``lost`` is None where nothing
    was measured before the stop."""

    job_id: int
    name: str | None
    state: str
    device: str
    censored: bool
    metric: str
    mode: str
    stopped_at: StoppedAt | None
    epochs: Amount
    hours: Amount
    gpu_hours: Amount
    best: Value | None
    best_before_stop: Value | None
    lost: float | None
    lost_share: float | None


class Lost(_Answer):
    """Over the runs of which it is known. None where it is of none; absolute values of several metrics are not summed
    up."""

    mean: float | None
    median: float | None
    worst: float | None


class RuleOutcome(_Answer):
    """A rule over all runs. ``nothing_before``: runs that it ends before anything was measured."""

    rule: str
    settings: JsonObject | None
    runs: int
    stopped: int
    unchanged: int
    censored: int
    nothing_before: int
    epochs: Amount
    hours: Amount
    gpu_hours: Amount
    lost: Lost
    lost_share: Lost
    loses_nothing_share: float | None
    details: tuple[RunOutcome, ...] = Field(repr=False)


def outcome_of(run: PastRun, score: Score, stop: Stop | None, best: EpochValue | None) -> RunOutcome:
    """``best``: of the whole run."""
    before = best if stop is None else stop.best
    lost = _lost(score, best, before)
    epochs, hours, gpu_hours = _amounts(run, stop)
    return RunOutcome(
        job_id=run.job.id,
        name=run.job.name,
        state=run.job.state.value,
        device="gpu" if gpu_hours.total else "cpu",
        censored=bool(run.decided),
        metric=score.metric,
        mode=score.mode,
        stopped_at=None if stop is None else _stopped_at(stop),
        epochs=epochs,
        hours=hours,
        gpu_hours=gpu_hours,
        best=_value(best),
        best_before_stop=_value(before),
        lost=lost,
        lost_share=_lost_share(lost, best),
    )


def outcome_over(rule: str, settings: JsonObject | None, details: Sequence[RunOutcome]) -> RuleOutcome:
    stopped = [run for run in details if run.stopped_at is not None]
    known = [run for run in details if run.lost is not None]
    one_metric = len({(run.metric, run.mode) for run in details}) == 1
    return RuleOutcome(
        rule=rule,
        settings=settings,
        runs=len(details),
        stopped=len(stopped),
        unchanged=len(details) - len(stopped),
        censored=sum(run.censored for run in details),
        nothing_before=len(details) - len(known),
        epochs=_sum([run.epochs for run in details]),
        hours=_sum([run.hours for run in details]),
        gpu_hours=_sum([run.gpu_hours for run in details]),
        lost=_summary([run.lost for run in known if run.lost is not None] if one_metric else []),
        lost_share=_summary([run.lost_share for run in known if run.lost_share is not None]),
        loses_nothing_share=_share(sum(run.lost is not None and run.lost <= 0 for run in details), len(details)),
        details=tuple(details),
    )


def _amounts(run: PastRun, stop: Stop | None) -> tuple[Amount, Amount, Amount]:
    epochs = saved_epochs = 0
    hours, saved_hours, gpu_hours, saved_gpu_hours = [], [], [], []
    for attempt, span in sorted(run.spans.by_attempt.items()):
        gpus = run.gpus(attempt)
        seconds, epochs = 0.0, epochs + span.epochs
        if stop is not None and attempt > stop.attempt:
            seconds, saved_epochs = span.seconds, saved_epochs + span.epochs
        elif stop is not None and attempt == stop.attempt:
            seconds = min(max(span.last_time - stop.time, 0.0), span.seconds)
            if stop.epoch is not None and span.last_epoch is not None:
                saved_epochs += max(span.last_epoch - stop.epoch, 0)
        hours.append(span.seconds / SECONDS_PER_HOUR)
        saved_hours.append(seconds / SECONDS_PER_HOUR)
        gpu_hours.append(hours[-1] * gpus)
        saved_gpu_hours.append(saved_hours[-1] * gpus)
    return (
        _amount(epochs, saved_epochs),
        _amount(math.fsum(hours), math.fsum(saved_hours)),
        _amount(math.fsum(gpu_hours), math.fsum(saved_gpu_hours)),
    )


def _lost(score: Score, best: EpochValue | None, before: EpochValue | None) -> float | None:
    if best is None:
        return 0.0  # it never had a finite value: nothing could be lost
    if before is None:
        return None
    return best.value - before.value if score.mode == "max" else before.value - best.value


def _lost_share(lost: float | None, best: EpochValue | None) -> float | None:
    if lost is None or lost == 0:
        return lost
    return None if best is None or best.value == 0 else lost / abs(best.value)


def _stopped_at(stop: Stop) -> StoppedAt:
    return StoppedAt(
        attempt=stop.attempt,
        epoch=stop.epoch,
        time=utc_text(datetime.fromtimestamp(stop.time, UTC)),
        rule=stop.decided.rule,
        reason=stop.decided.reason,
        partition=stop.partition,
        offset=stop.offset,
    )


def _value(found: EpochValue | None) -> Value | None:
    return None if found is None else Value(epoch=found.epoch, value=found.value)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _amount(total: float, saved: float) -> Amount:
    return Amount(total=total, saved=saved, share=_share(saved, total))


def _sum(amounts: Sequence[Amount]) -> Amount:
    return _amount(math.fsum(one.total for one in amounts), math.fsum(one.saved for one in amounts))


def _summary(losses: Sequence[float]) -> Lost:
    if not losses:
        return Lost(mean=None, median=None, worst=None)
    return Lost(mean=math.fsum(losses) / len(losses), median=statistics.median(losses), worst=max(losses))
