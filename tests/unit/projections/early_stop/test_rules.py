"""Given reports, then this verdict at this report, or none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.early_stopping import EarlyStopping
from events.envelope import Event, Position
from events.types.metrics import MetricsReported
from projections.early_stop.history import EPOCHS_MAX
from projections.early_stop.rules import EXPLOSION_POINTS, FIRST_POINTS, LOSSES_MAX, RULES, State, Verdict
from projections.early_stop.watch import from_json, judge, next_attempt, rows_of, to_json
from tests.builders import event
from training_sdk.wire import METRICS

NAN, INFINITY = math.nan, math.inf


@dataclass(frozen=True)
class Report:
    epoch: int | None
    value: float | None
    name: str = "mAP50"
    phase: str = "val"
    step: int | None = None
    attempt: int = 1


def event_of(report: Report, offset: int) -> Event[MetricsReported]:
    data = MetricsReported(
        phase=report.phase,
        steps=[report.step],
        epochs=[report.epoch],
        times=[0.0],
        values={report.name: [report.value]},
    )
    made: Any = event(data, seq=offset + 1, attempt=report.attempt)
    placed: Event[MetricsReported] = replace(made, position=Position(METRICS, 3, offset))
    return placed


def decide(
    settings: EarlyStopping, reports: Sequence[Report], *, through_json: bool = False
) -> tuple[int, Verdict] | None:
    """The number of the report that ended the last attempt, and why."""
    state, attempt = State(), 1
    found: tuple[int, Verdict] | None = None
    for number, report in enumerate(reports):
        if report.attempt > attempt:
            state, attempt, found = next_attempt(state), report.attempt, None
        elif report.attempt < attempt:
            continue
        if through_json:
            state = from_json(json.loads(json.dumps(to_json(state), allow_nan=False)))
        for row in rows_of(settings, event_of(report, number)):
            state, verdict = judge(settings, state, row)
            if verdict is not None:
                found = (number, verdict)
    return found


def of_epochs(*values: float | None, first: int = 1, **fields: Any) -> list[Report]:
    return [Report(epoch, value, **fields) for epoch, value in enumerate(values, start=first)]


def watching(**settings: Any) -> EarlyStopping:
    return EarlyStopping.model_validate({"metric": "mAP50", "patience": 3, **settings})


def ended_at(settings: EarlyStopping, reports: Sequence[Report]) -> int | None:
    found = decide(settings, reports)
    return None if found is None else found[0]


# patience


def test_a_run_ends_when_its_patience_is_over() -> None:
    found = decide(watching(), of_epochs(0.1, 0.5, 0.4, 0.45, 0.5, 0.9))
    assert found is not None
    number, verdict = found
    assert (number, verdict.rule, verdict.point.epoch, verdict.best and verdict.best.epoch) == (4, "patience", 5, 2)
    assert [(point.epoch, point.value, point.offset) for point in verdict.evidence] == [
        (2, 0.5, 1),
        (3, 0.4, 2),
        (4, 0.45, 3),
        (5, 0.5, 4),
    ]
    assert verdict.reason == (
        "val/mAP50 has not become better for 3 epochs: it was best at epoch 2 with 0.5 and is 0.5 at epoch 5"
    )


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None),
        ({"mode": "min"}, [0.9, 0.8, 0.8, 0.8, 0.8], 4),
        ({"metric": "val_loss"}, [0.9, 0.8, 0.8, 0.8, 0.8], None),
        ({"min_delta": 0.1}, [0.5, 0.55, 0.6, 0.59, 0.9], 3),
        ({"min_delta": 0.1}, [0.5, 0.55, 0.6, 0.61, 0.9], None),
        ({"warmup_epochs": 2}, [0.9, 0.8, 0.1, 0.2, 0.1, 0.1, 0.1], 6),
        ({"warmup_epochs": 9}, [0.5] * 9, None),
        ({"patience": 1}, [0.5, 0.5], 1),
        ({"patience": None, "target": 2.0}, [0.5] * 50, None),
        ({}, [NAN, NAN, NAN], 2),
        ({}, [0.5, NAN, INFINITY, -INFINITY], 3),
        ({}, [NAN, 0.5, 0.4, 0.3, 0.2], 4),
        ({}, [0.5, None, None, None, 0.4], 4),
        ({"enabled": True, "patience": 4}, [0.5, 0.4, 0.4, 0.4], None),
    ],
)
def test_patience(settings: dict[str, Any], values: list[float | None], expected: int | None) -> None:
    assert ended_at(watching(**settings), of_epochs(*values)) == expected


def test_patience_is_counted_in_epochs_also_where_validation_is_rare() -> None:
    reports = [Report(epoch, 0.5) for epoch in (5, 10, 15)]
    assert ended_at(watching(patience=10), reports) == 2
    assert ended_at(watching(patience=11), reports) is None


def test_epochs_may_come_in_any_order_and_again() -> None:
    late = [Report(1, 0.1), Report(3, 0.2), Report(4, 0.2), Report(2, 0.9), Report(5, 0.3)]
    assert ended_at(watching(), late) == 4
    corrected = [*of_epochs(0.9, 0.1), Report(1, 0.05), *of_epochs(0.1, 0.2, 0.1, first=3)]
    assert ended_at(watching(), corrected) is None, "the first epoch was not that good after all"


def test_epochs_that_count_from_zero_are_all_judged() -> None:
    assert ended_at(watching(), of_epochs(0.5, 0.4, 0.4, 0.4, first=0)) == 3


def test_of_an_epoch_in_steps_the_last_one_counts_when_the_next_epoch_has_begun() -> None:
    def steps(epoch: int, *values: float) -> list[Report]:
        return [Report(epoch, value, "loss", "train", step=10 * epoch + number) for number, value in enumerate(values)]

    reports = [*steps(1, 0.1, 0.9), *steps(2, 0.8, 0.8), *steps(3, 0.1, 0.9), *steps(4, 0.1, 0.85), *steps(5, 0.1)]
    settings = watching(metric="loss", patience=2)
    assert ended_at(settings, reports) == len(reports) - 1
    assert ended_at(settings, reports[:-1]) is None
    other = Report(5, 0.01, "lr", "train", step=50)
    assert ended_at(settings, [*reports[:-1], other]) == len(reports) - 1, "any report of the next epoch will do"
    of_the_epoch = Report(4, 0.01, "loss", "train")
    assert ended_at(settings, [*reports[:-1], of_the_epoch, *steps(5, 0.1)]) is None


def test_validation_is_watched_rather_than_training_once_it_is_there() -> None:
    reports: list[Report] = []
    for epoch in range(1, 8):
        reports += [Report(epoch, 0.5, "accuracy", "train"), Report(epoch, epoch / 10, "accuracy", "val")]
    assert ended_at(watching(metric="accuracy"), reports) is None
    assert ended_at(watching(metric="train/accuracy"), reports) == 6


def test_a_raw_name_and_its_alias_are_one_metric() -> None:
    reports: list[Report] = []
    for epoch, value in enumerate((0.5, 0.4, 0.4, 0.4), start=1):
        reports += [Report(epoch, value, "metrics/mAP50(B)"), Report(epoch, value)]
    assert ended_at(watching(), reports) == ended_at(watching(metric="val/metrics/mAP50(B)"), reports) == 6


def test_a_very_long_run_is_judged_by_its_whole_past_and_keeps_little_of_it() -> None:
    long = EPOCHS_MAX + 50
    reports = of_epochs(0.1, 0.9, *[0.5] * (2 * EPOCHS_MAX))
    assert ended_at(watching(patience=long), reports) == long + 1
    nothing = of_epochs(*[NAN] * (2 * EPOCHS_MAX))
    assert ended_at(watching(patience=long), nothing) == long - 1
    state, settings = State(), watching(patience=10_000)
    for number, report in enumerate(of_epochs(*[0.123456789] * 3 * EPOCHS_MAX)):
        for row in rows_of(settings, event_of(report, number)):
            state, _ = judge(settings, state, row)
    assert len(json.dumps(to_json(state))) < 40_000


# attempts


def test_an_attempt_that_goes_on_is_judged_as_if_it_had_never_been_away() -> None:
    values = (0.1, 0.6, 0.5, 0.4, 0.3)
    whole = of_epochs(*values)
    for cut in range(1, 5):
        resumed = [*whole[:cut], *of_epochs(*values[cut:], first=cut + 1, attempt=2)]
        assert ended_at(watching(), resumed) == ended_at(watching(), whole) == 4


def test_an_attempt_that_begins_again_is_judged_by_itself() -> None:
    first = of_epochs(0.9, 0.1, 0.1)
    assert ended_at(watching(), [*first, *of_epochs(0.1, 0.2, 0.3, 0.4, attempt=2)]) is None
    rewritten = of_epochs(0.95, 0.5, 0.5, first=2, attempt=2)
    assert ended_at(watching(), [*first, *rewritten]) is None
    assert ended_at(watching(), [*first, *rewritten, Report(5, 0.5, attempt=2)]) == 6


def test_what_an_older_attempt_still_says_does_not_count() -> None:
    resumed = [*of_epochs(0.9, 0.1), Report(3, 0.95, attempt=2), Report(4, 0.9), Report(5, 0.1)]
    assert ended_at(watching(), resumed) is None
    assert ended_at(watching(), [*resumed, *of_epochs(0.1, 0.1, 0.1, first=4, attempt=2)]) == 7


def test_a_run_that_somebody_resumes_after_a_decision_gets_its_patience_anew() -> None:
    ended = of_epochs(0.9, 0.1, 0.1, 0.1)
    on = of_epochs(0.2, 0.2, 0.2, first=5, attempt=2)
    assert ended_at(watching(), ended) == 3
    assert ended_at(watching(), [*ended, *on[:2]]) is None
    assert ended_at(watching(), [*ended, *on]) == 6


def test_a_long_run_can_begin_again() -> None:
    past = of_epochs(0.9, *[0.5] * (EPOCHS_MAX + 20))
    settings = watching(patience=EPOCHS_MAX * 2)
    again = of_epochs(*[0.3] * (EPOCHS_MAX * 2), attempt=2)
    assert ended_at(settings, [*past, *again]) is None
    assert ended_at(settings, [*past, *again, Report(EPOCHS_MAX * 2 + 1, 0.3, attempt=2)]) is not None


# target


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"target": 0.8}, [0.5, 0.79, 0.8], 2),
        ({"target": 0.8, "mode": "min"}, [0.9, 0.81, 0.8], 2),
        ({"target": 0.8, "warmup_epochs": 2}, [0.9, 0.9, 0.7, 0.9], 3),
        ({"target": 0.8}, [NAN, INFINITY, 0.7], None),
        ({"target": 0.8, "mode": "min"}, [-INFINITY, 0.9], None),
    ],
)
def test_target(settings: dict[str, Any], values: list[float], expected: int | None) -> None:
    found = decide(EarlyStopping.model_validate({"metric": "mAP50", **settings}), of_epochs(*values))
    assert (found and found[0]) == expected
    assert found is None or (found[1].rule == "target" and "has reached its target 0.8" in found[1].reason)


# divergence


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize(("phase", "name"), [("train", "loss"), ("val", "val_loss"), ("train", "train/cls_loss")])
def test_a_loss_that_is_no_number_ends_the_run_also_while_warming_up(value: float, phase: str, name: str) -> None:
    reports = [Report(1, 0.5, name, phase, step=1), Report(1, value, name, phase, step=2)]
    found = decide(watching(warmup_epochs=5), reports)
    assert found is not None
    assert (found[0], found[1].rule) == (1, "divergence")
    assert found[1].reason == f"{phase}/{name.removeprefix('train/')} became {value} at epoch 1, step 2"


def test_a_metric_that_is_no_loss_may_be_no_number() -> None:
    assert decide(watching(), [Report(1, NAN, "lr", "train", step=1), Report(1, NAN, "mAP50")]) is None


def losses(*values: float) -> list[Report]:
    return [Report(1, value, "loss", "train", step=step) for step, value in enumerate(values)]


def test_a_loss_that_explodes_ends_the_run() -> None:
    begin = [2.0, 3.0, *[1.0] * (FIRST_POINTS - 2)]
    exploded = [3_001.0] * EXPLOSION_POINTS
    found = decide(watching(), losses(*begin, 3_000.0, *exploded))
    assert found is not None
    assert (found[0], found[1].rule) == (FIRST_POINTS + EXPLOSION_POINTS, "divergence")
    assert "over 1000 times the highest of its first 10 values (3)" in found[1].reason
    assert decide(watching(), losses(*begin, *exploded[1:], 1.0, *exploded[1:])) is None, "one bad batch does not"
    assert decide(watching(warmup_epochs=1), losses(*begin, *exploded)) is None
    assert decide(watching(), losses(*[0.0] * FIRST_POINTS, 1e30, 1e30, 1e30, 1e30)) is None


def test_losses_without_an_epoch_are_judged_and_more_than_anybody_has_are_not() -> None:
    found = decide(watching(), [Report(None, NAN, "loss", "train", step=7)])
    assert found is not None and found[1].point.epoch is None
    state, settings = State(), watching()
    for number in range(2 * LOSSES_MAX):
        (row,) = rows_of(settings, event_of(Report(1, 1.0, f"loss_{number}_loss"), number))
        state, _ = judge(settings, state, row)
    assert len(state.losses) == LOSSES_MAX


# what holds for all

REPORTS = st.builds(
    Report,
    epoch=st.integers(0, 8) | st.none(),
    value=st.sampled_from([0.1, 0.2, 0.3, 0.5, 1e6, NAN, INFINITY]) | st.none(),
    name=st.sampled_from(["mAP50", "metrics/mAP50(B)", "loss", "val_loss", "lr"]),
    phase=st.sampled_from(["train", "val", "odd"]),
    step=st.none() | st.integers(0, 30),
    attempt=st.integers(1, 3),
)
SETTINGS = st.builds(
    watching,
    metric=st.sampled_from(["mAP50", "val/mAP50", "loss", "val_loss"]),
    mode=st.sampled_from(["max", "min"]),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.1]),
    warmup_epochs=st.integers(0, 3),
    target=st.none() | st.just(0.5),
)


@given(SETTINGS, st.lists(REPORTS, max_size=40))
def test_a_state_that_was_stored_after_every_report_decides_the_same(
    settings: EarlyStopping, reports: list[Report]
) -> None:
    kept, stored = decide(settings, reports), decide(settings, reports, through_json=True)
    assert repr(kept) == repr(stored)


def gathered(part: Sequence[Report]) -> Event[MetricsReported]:
    """Reports of one name and phase as columns of one event."""
    columns = MetricsReported(
        phase=part[0].phase,
        steps=[report.step for report in part],
        epochs=[report.epoch for report in part],
        times=[0.0] * len(part),
        values={part[0].name: [report.value for report in part]},
    )
    return replace(event_of(part[0], 0), data=columns)


def state_after(settings: EarlyStopping, events: Sequence[Event[MetricsReported]]) -> object:
    state = State()
    for one in events:
        for row in rows_of(settings, one):
            state, _ = judge(settings, state, row)
    return to_json(state)


@given(SETTINGS, st.lists(REPORTS, min_size=1, max_size=40), st.integers(0, 40))
def test_where_the_sender_cuts_its_reports_into_events_does_not_matter(
    settings: EarlyStopping, reports: list[Report], cut: int
) -> None:
    first = reports[0]
    same = [replace(report, phase=first.phase, name=first.name, attempt=1) for report in reports]
    parts = [gathered(part) for part in (same[:cut], same[cut:]) if part]
    assert state_after(settings, parts) == state_after(settings, [event_of(report, 0) for report in same])


def expected_end(settings: EarlyStopping, reports: Sequence[Report]) -> int | None:
    """The rule of patience, in the dumbest way: after every report look at all of them again."""
    assert settings.patience is not None
    values: dict[int, float] = {}
    attempt, lowest, since = 1, 0, 0
    ended: int | None = None
    for number, report in enumerate(reports):
        assert report.epoch is not None and report.value is not None
        if report.attempt < attempt:
            continue
        if report.attempt > attempt:
            since = max(values, default=0) if ended is not None else 0
            attempt, lowest, ended = report.attempt, max(values, default=-1) + 1, None
        if ended is not None:
            continue
        if report.epoch < lowest:
            # Written again, from here on.
            values = {epoch: value for epoch, value in values.items() if epoch < report.epoch or epoch >= lowest}
            lowest, since = report.epoch, min(since, report.epoch - 1)
        if settings.warmup_epochs and report.epoch <= settings.warmup_epochs:
            continue
        values[report.epoch] = report.value
        best: tuple[int, float] | None = None
        for epoch, value in sorted(values.items()):
            gain = 0.0 if best is None else (value - best[1]) * (1 if settings.mode == "max" else -1)
            if math.isfinite(value) and (best is None or gain > settings.min_delta):
                best = (epoch, value)
        begin = best[0] if best is not None else min(values) - 1
        if max(values) - max(begin, since) >= settings.patience:
            ended = number
    return ended


@given(
    SETTINGS.map(lambda settings: settings.model_copy(update={"metric": "mAP50", "target": None})),
    st.lists(
        st.builds(
            Report,
            epoch=st.integers(0, 12),
            value=st.sampled_from([0.0, 0.25, 0.5, 0.75, NAN]),
            attempt=st.sampled_from([1, 1, 1, 2, 3]),
        ),
        max_size=30,
    ),
)
def test_patience_is_what_it_would_be_if_everything_was_looked_at_again(
    settings: EarlyStopping, reports: list[Report]
) -> None:
    assert ended_at(settings, reports) == expected_end(settings, reports)


def test_every_rule_has_its_name() -> None:
    assert list(RULES) == ["divergence", "target", "patience"]
