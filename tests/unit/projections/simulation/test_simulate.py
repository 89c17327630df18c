"""Past runs with known curves under other rules: what is saved, what is lost, and that a repeat changes nothing."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from events.envelope import Event, Record
from events.types.deletion import JobDeleted, JobPurged, JobRestored
from events.types.vocabulary import Fact
from projections.simulation import simulate as module
from projections.simulation.outcome import RuleOutcome, RunOutcome
from projections.simulation.past_runs import Filter
from projections.simulation.rule_texts import rules_of
from projections.simulation.simulate import Simulation, simulate
from projections.simulation.what_if import Score
from tests.builders import NOON, job_completed
from tests.given import log_of
from tests.past_runs import RunOf, failed, stopped
from training_sdk.wire import JOBS

PLATEAU = (0.1, 0.5, 0.4, 0.45, 0.5, 0.8, 0.7, 0.7)
"""Best at epoch 2, and, for whoever waits, at epoch 6."""


def events_of(*runs: RunOf) -> list[Event[Fact]]:
    return [one for run in runs for one in run.events]


async def over(records: Sequence[Record], *rules: str, **options: Any) -> Simulation:
    async def read(topic: str) -> AsyncIterator[list[Record]]:
        mine = [record for record in records if record.topic == topic]
        for start in range(0, len(mine), 3):
            yield mine[start : start + 3]

    return await simulate(read, rules_of(rules), **options)


async def under(*runs: RunOf, rule: str) -> tuple[RuleOutcome, list[RunOutcome]]:
    (found,) = (await over(log_of(events_of(*runs)), rule)).rules
    return found, list(found.details)


async def test_a_stop_saves_what_comes_after_it_and_loses_what_was_better_there() -> None:
    rule, (run,) = await under(RunOf(gpus=2).attempt(PLATEAU), rule="metric=mAP50,patience=3")
    assert run.stopped_at is not None
    assert (run.stopped_at.attempt, run.stopped_at.epoch, run.stopped_at.rule) == (1, 5, "patience")
    assert (run.epochs.total, run.epochs.saved, run.epochs.share) == (8, 3, 3 / 8)
    assert (run.hours.total, run.hours.saved) == pytest.approx((8, 3))
    assert (run.gpu_hours.total, run.gpu_hours.saved) == pytest.approx((16, 6))
    assert run.best is not None and (run.best.epoch, run.best.value) == (6, 0.8)
    assert run.best_before_stop is not None and (run.best_before_stop.epoch, run.best_before_stop.value) == (2, 0.5)
    assert (run.lost, run.lost_share) == pytest.approx((0.3, 0.375))
    assert (rule.runs, rule.stopped, rule.unchanged, rule.loses_nothing_share) == (1, 1, 0, 0.0)


async def test_a_rule_that_never_fires_leaves_the_run_as_it_was() -> None:
    rule, (run,) = await under(RunOf().attempt(PLATEAU), rule="metric=mAP50,patience=9")
    assert run.stopped_at is None
    assert (run.epochs.saved, run.hours.saved, run.lost, run.lost_share) == (0, 0, 0, 0)
    assert run.best == run.best_before_stop
    assert (rule.stopped, rule.unchanged, rule.loses_nothing_share) == (0, 1, 1.0)


async def test_where_less_is_better_what_is_lost_counts_the_other_way() -> None:
    _, (run,) = await under(RunOf(metric="loss").attempt((0.9, 0.8, 0.8, 0.4)), rule="metric=val_loss,patience=1")
    assert run.stopped_at is not None and run.stopped_at.epoch == 3
    assert run.mode == "min" and (run.lost, run.lost_share) == pytest.approx((0.4, 1.0))


async def test_the_margin_of_the_rule_is_none_of_the_score() -> None:
    """An improvement too small for the rule is the best value all the same."""
    _, (run,) = await under(RunOf().attempt((0.5, 0.55, 0.58, 0.59, 0.6)), rule="metric=mAP50,patience=3,min_delta=0.1")
    assert run.stopped_at is not None and run.stopped_at.epoch == 4
    assert run.best_before_stop is not None and run.best_before_stop.value == 0.59
    assert run.lost == pytest.approx(0.01)


async def test_a_run_on_a_cpu_has_no_gpu_hours() -> None:
    rule, (run,) = await under(RunOf().attempt(PLATEAU), rule="metric=mAP50,patience=3")
    assert (run.device, run.gpu_hours.total, run.gpu_hours.share) == ("cpu", 0, None)
    assert run.hours.saved == pytest.approx(3) and rule.gpu_hours.share is None


async def test_gpus_are_those_that_the_run_itself_counted() -> None:
    """A trainer may see eight and use one."""
    ended = job_completed(training_time_seconds=3600, gpu_hours=1.0)
    _, (run,) = await under(RunOf(gpus=8).attempt(PLATEAU, end=ended), rule="metric=mAP50,patience=3")
    assert run.device == "gpu" and run.gpu_hours.saved == pytest.approx(3)


async def test_later_attempts_are_saved_whole_but_not_the_pause_before_them() -> None:
    made = RunOf(gpus=1).attempt(PLATEAU[:6], end=failed())
    made.at += timedelta(hours=100)
    made.attempt((0.9, 0.95), number=2, first=7)
    _, (run,) = await under(made, rule="metric=mAP50,patience=3")
    assert run.stopped_at is not None and (run.stopped_at.attempt, run.stopped_at.epoch) == (1, 5)
    assert (run.epochs.total, run.epochs.saved) == (8, 3)
    assert (run.hours.total, run.hours.saved) == pytest.approx((8, 3))
    assert run.best is not None and run.best.value == 0.95 and run.lost == pytest.approx(0.45)


async def test_an_attempt_that_goes_on_keeps_its_past() -> None:
    made = RunOf().attempt((0.1, 0.9, 0.4), end=failed()).attempt((0.4, 0.4, 0.4), number=2, first=4)
    _, (run,) = await under(made, rule="metric=mAP50,patience=3")
    assert run.stopped_at is not None and (run.stopped_at.attempt, run.stopped_at.epoch) == (2, 5)
    assert run.lost == 0


async def test_epochs_that_a_later_attempt_writes_anew_do_not_count_for_the_run() -> None:
    made = RunOf().attempt((0.1, 0.9, 0.4), end=failed()).attempt((0.2, 0.3, 0.35, 0.4), number=2, first=2)
    _, (run,) = await under(made, rule="metric=mAP50,target=0.9")
    assert run.best is not None and (run.best.epoch, run.best.value) == (5, 0.4)
    assert run.lost == pytest.approx(-0.5)  # the stop keeps what the run threw away
    assert run.epochs.total == 7


async def test_what_was_stopped_live_is_said_to_be_censored() -> None:
    live = RunOf(job_id=26).attempt(PLATEAU[:5], end=stopped(5)).stopped_live()
    rule, (_, run) = await under(RunOf().attempt(PLATEAU), live, rule="metric=mAP50,patience=4")
    assert run.censored and run.stopped_at is None and run.state == "stopped"
    assert rule.censored == 1


async def test_over_all_runs_the_sums_and_the_shares() -> None:
    runs = [RunOf(job_id=25).attempt(PLATEAU), RunOf(job_id=26).attempt((0.1, 0.2, 0.3, 0.4))]
    runs.append(RunOf(job_id=27).attempt((0.5, 0.4, 0.4, 0.4, 0.4, 0.4)))
    rule, details = await under(*runs, rule="metric=mAP50,patience=3")
    assert [run.job_id for run in details] == [25, 26, 27]
    assert (rule.runs, rule.stopped) == (3, 2)
    assert (rule.epochs.total, rule.epochs.saved) == (18, 5)
    assert (rule.lost.mean, rule.lost.median, rule.lost.worst) == pytest.approx((0.1, 0, 0.3))
    assert rule.loses_nothing_share == pytest.approx(2 / 3)


async def test_absolute_losses_of_different_metrics_are_not_averaged() -> None:
    runs = [RunOf(job_id=25, config={"primary_metric": "mAP50"}), RunOf(job_id=26, metric="loss")]
    rule, details = await under(*(run.attempt(PLATEAU) for run in runs), rule="patience=3")
    assert [run.metric for run in details] == ["mAP50", "val_loss"]
    assert rule.lost.mean is None and rule.lost_share.mean is not None


async def test_a_stop_before_anything_was_measured_is_no_loss_of_a_known_size() -> None:
    rule, (run,) = await under(RunOf().attempt((math.nan, math.nan, 0.5)), rule="metric=mAP50,patience=1")
    assert run.stopped_at is not None and run.best_before_stop is None and run.lost is None
    assert (rule.nothing_before, rule.lost.mean, rule.loses_nothing_share) == (1, None, 0.0)


async def test_a_run_without_a_finite_value_has_nothing_to_lose() -> None:
    _, (run,) = await under(RunOf().attempt((math.nan, math.nan, math.nan)), rule="metric=mAP50,patience=2")
    assert run.stopped_at is not None and (run.best, run.lost, run.lost_share) == (None, 0.0, 0.0)


async def test_all_rules_can_be_compared_by_one_metric() -> None:
    log = log_of(events_of(RunOf().attempt(PLATEAU)))
    found = await over(log, "metric=mAP50,patience=3", "metric=train/loss,target=0.5", score=Score.named("mAP50"))
    details = [rule.details[0] for rule in found.rules]
    assert [run.metric for run in details] == ["mAP50", "mAP50"]
    assert [run.lost for run in details] == pytest.approx([0.3, 0.3])
    # Training's epoch 2 is known to be over when epoch 3 begins.
    at = details[1].stopped_at
    assert at is not None and (at.rule, at.epoch) == ("target", 3)


async def test_the_last_epoch_counts_though_no_later_one_says_that_it_is_over() -> None:
    found = await over(log_of(events_of(RunOf().attempt(PLATEAU))), "metric=train/loss,patience=50")
    best = found.rules[0].details[0].best
    assert best is not None and (best.epoch, best.value) == (8, 1 / 8)


async def test_runs_that_cannot_be_compared_are_counted_and_left_out() -> None:
    going_on = RunOf(job_id=27).attempt(PLATEAU)
    del going_on.events[-1]
    runs = events_of(RunOf(job_id=25).attempt(PLATEAU), RunOf(job_id=26, metric="other").attempt(PLATEAU), going_on)
    found = await over(log_of(runs), "metric=mAP50,patience=3", "metric=mAP50,patience=4")
    assert (found.runs, found.not_ended, found.without_metric) == (1, 1, (26,))
    assert [len(rule.details) for rule in found.rules] == [1, 1]


async def test_a_deleted_job_is_not_looked_at_and_a_restored_one_is() -> None:
    runs = [RunOf(job_id=job_id).attempt(PLATEAU) for job_id in (25, 26, 27)]
    for run in runs[:2]:
        run.say(JOBS, JobDeleted(requested_by="api"), session="outbox")
    runs[1].say(JOBS, JobRestored(requested_by="api"), session="outbox")
    runs[2].say(JOBS, JobPurged(requested_by="api", reason="asked to"), session="outbox")
    _, details = await under(*runs, rule="metric=mAP50")
    assert [run.job_id for run in details] == [26]


@pytest.mark.parametrize(
    ("wanted", "jobs"),
    [
        (Filter(), [25, 26]),
        (Filter(jobs=frozenset({26})), [26]),
        (Filter(models=frozenset({"yolo11n"})), [25]),
        (Filter(frameworks=frozenset({"timm"})), [26]),
        (Filter(datasets=frozenset({42})), [25]),
        (Filter(since=NOON + timedelta(days=1)), [26]),
        (Filter(models=frozenset({"yolo11n"}), datasets=frozenset({43})), []),
    ],
)
async def test_only_the_wanted_runs_are_looked_at(wanted: Filter, jobs: list[int]) -> None:
    other = {"model_name": "resnet18", "framework": "timm", "dataset_id": 43}
    runs = [RunOf().attempt(PLATEAU), RunOf(job_id=26, created=other, at=NOON + timedelta(days=2)).attempt(PLATEAU)]
    found = await over(log_of(events_of(*runs)), "metric=mAP50", wanted=wanted)
    assert [run.job_id for run in found.rules[0].details] == jobs


async def test_what_was_sent_again_and_what_is_no_event_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(*(RunOf(job_id=job_id).attempt(PLATEAU) for job_id in (25, 26, 27)))
    rules = ("metric=mAP50,patience=2", "metric=mAP50,patience=3", "own")
    clean = await over(log_of(events), *rules)
    source = random.Random(1)
    for again in source.sample(events, k=len(events) // 2):
        events.insert(source.randint(events.index(again) + 1, len(events)), again)
    log = log_of(events)
    log.append(replace(log[-1], offset=log[-1].offset + 1, value=b"no JSON"))
    # Also in several passes over the topic.
    monkeypatch.setattr(module, "FOLLOWED_MAX", 3)
    torn = await over(log, *rules)
    assert torn.unreadable == 1
    positions = {"offset": True, "partition": True}
    left_out: Any = {"unreadable": True, "rules": {"__all__": {"details": {"__all__": {"stopped_at": positions}}}}}
    assert torn.model_dump(exclude=left_out) == clean.model_dump(exclude=left_out)
    assert (await over(log, *rules)).model_dump_json() == torn.model_dump_json()
