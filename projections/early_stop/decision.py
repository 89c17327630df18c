"""A verdict as the event that says it: which rule, on what values, and where they stand in the log. Pure."""

from __future__ import annotations

from typing import Final

from events.early_stopping import EarlyStopping
from events.envelope import Event
from events.types.jobs import StopDecided, StopEvidence
from events.types.metrics import MetricsReported
from producers.decisions import decision_id
from projections.early_stop.history import EpochValue
from projections.early_stop.rules import Verdict

EVIDENCE_MAX: Final = 100


def decision_of(event: Event[MetricsReported], settings: EarlyStopping, verdict: Verdict) -> StopDecided:
    """The same whoever computes it, and whenever."""
    assert event.position is not None
    # The best one first, then the newest ones: a long patience has more values than anybody reads.
    shown = verdict.evidence
    if len(shown) > EVIDENCE_MAX:
        shown = (shown[0], *shown[1 - EVIDENCE_MAX :])
    return StopDecided(
        decision_id=decision_id(event.job_id, event.attempt, verdict.rule),
        rule=verdict.rule,
        metric=verdict.point.name,
        mode=settings.mode if isinstance(verdict.point, EpochValue) else None,
        epoch=verdict.point.epoch,
        value=verdict.point.value,
        best_epoch=verdict.best.epoch if verdict.best is not None else None,
        best_value=verdict.best.value if verdict.best is not None else None,
        reason=verdict.reason,
        settings=settings.model_dump(mode="json"),
        evidence=[
            StopEvidence(
                epoch=point.epoch,
                step=point.step,
                value=point.value,
                topic=event.topic,
                partition=event.position.partition,
                offset=point.offset,
            )
            for point in shown
        ],
    )
