"""The rules as pure functions: any redelivery, any cut, a crash anywhere end in the same decisions, one an attempt."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events.early_stopping import read_settings
from events.envelope import Event, Record
from events.types.metrics import MetricsReported
from events.types.sessions import SessionOpened
from events.types.vocabulary import Fact
from projections.early_stop.attempts import Attempt, opened
from projections.early_stop.watch import from_json, judge, rows_of, to_json
from projections.simulation.past_runs import PastRun, past_runs
from projections.simulation.rule_texts import rules_of
from projections.simulation.simulate import Counted
from projections.simulation.what_if import WhatIf
from tests.histories import histories
from training_sdk.wire import METRICS

Decision = tuple[int, int, str, int]
"""Job, attempt, rule, offset of the report that decided it."""


@dataclass
class Saved:
    """What a process that dies has left: offsets, what was counted, attempts as JSON, decisions."""

    next_offsets: dict[int, int] = field(default_factory=dict)
    counted: Counted = field(default_factory=Counted)
    attempts: dict[int, dict[int, str]] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()

    def after(self, batch: Sequence[Record]) -> Saved:
        fresh = [record for record in batch if record.offset >= self.next_offsets.get(record.partition, 0)]
        counted = Counted(dict(self.counted.marks))
        attempts = {job_id: dict(of_job) for job_id, of_job in self.attempts.items()}
        decisions = list(self.decisions)
        for event in counted.events(fresh):
            decisions += _fold(attempts.setdefault(event.job_id, {}), event)
        offsets = {record.partition: record.offset + 1 for record in fresh}
        return Saved({**self.next_offsets, **offsets}, counted, attempts, tuple(decisions))


def _fold(of_job: dict[int, str], event: Event[Fact]) -> list[Decision]:
    attempts = {number: _read(text) for number, text in of_job.items()}
    found = []
    if isinstance(event.data, SessionOpened):
        made = opened(attempts, event.attempt, event.data.early_stopping)
        if made is not None:
            of_job[event.attempt] = _written(made)
    elif isinstance(event.data, MetricsReported) and attempts and event.attempt == max(attempts):
        attempt = attempts[event.attempt]
        if attempt.state is None:
            return []
        watched: Any = event
        rules, _ = read_settings(attempt.settings)
        state = attempt.state
        for row in rows_of(rules, watched):
            state, verdict = judge(rules, state, row)
            if verdict is not None:
                found.append((event.job_id, event.attempt, verdict.rule, row.offset))
        of_job[event.attempt] = _written(Attempt(attempt.settings, state))
    return found


def _written(attempt: Attempt) -> str:
    state = None if attempt.state is None else to_json(attempt.state)
    return json.dumps([attempt.settings, state], allow_nan=False)


def _read(text: str) -> Attempt:
    given_settings, state = json.loads(text)
    return Attempt(given_settings, None if state is None else from_json(state))


def in_batches(log: Sequence[Record], source: random.Random) -> Saved:
    """From earlier places again, and what a batch made is thrown away now and then before it is saved."""
    saved, position = Saved(), 0
    while position < len(log):
        end = position + source.randint(1, 9)
        batch = log[max(0, position - source.randint(0, 6)) : end]
        if source.random() < 0.3:
            saved.after(batch)  # dies before it commits
            continue
        saved, position = saved.after(batch), end
    return saved


@settings(max_examples=40, deadline=None, derandomize=True)
@given(history=histories(METRICS), seed=st.integers(0, 2**32))
def test_any_delivery_ends_in_the_decisions_of_one_clean_pass(history: Any, seed: int) -> None:
    clean, torn = Saved().after(history.once), in_batches(history.log, random.Random(seed))
    assert torn.attempts == clean.attempts
    by_job = sorted(clean.decisions)
    assert sorted(torn.decisions) == by_job
    assert len({(job_id, attempt) for job_id, attempt, *_ in by_job}) == len(by_job)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(history=histories(METRICS))
def test_what_is_simulated_over_it_is_what_is_decided(history: Any) -> None:
    runs: dict[int, PastRun] = {}
    counted = Counted()
    events = counted.events(history.log)
    past_runs([], runs)
    what_ifs: dict[int, WhatIf] = {}
    for event in events:
        if event.job_id not in what_ifs:
            past_runs([event], runs)
            what_ifs[event.job_id] = WhatIf(runs[event.job_id], rules_of(["own"]))
        what_ifs[event.job_id].saw(event)
    simulated = [
        (job_id, stop.attempt, stop.decided.rule, stop.offset)
        for job_id, what_if in what_ifs.items()
        for stop in what_if.stops(0).values()
    ]
    assert sorted(simulated) == sorted(Saved().after(history.log).decisions)
