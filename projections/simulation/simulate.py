"""The past runs of the log under other rules: two topics are read, nothing is written, nobody is told.

The answer as JSON (``Simulation.model_dump_json``), the same for the same log and rules:

    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
     "required": ["runs", "not_ended", "without_metric", "unreadable", "rules"],
     "properties": {
       "runs": {"type": "integer"}, "not_ended": {"type": "integer"}, "unreadable": {"type": "integer"},
       "without_metric": {"type": "array", "items": {"type": "integer", "description": "job id"}},
       "rules": {"type": "array", "items": {"type": "object", "properties": {
         "rule": {"type": "string"}, "settings": {"type": ["object", "null"]},
         "runs": {"type": "integer"}, "stopped": {"type": "integer"}, "unchanged": {"type": "integer"},
         "censored": {"type": "integer"}, "nothing_before": {"type": "integer"},
         "epochs": {"$ref": "#/$defs/amount"}, "hours": {"$ref": "#/$defs/amount"},
         "gpu_hours": {"$ref": "#/$defs/amount"},
         "lost": {"$ref": "#/$defs/lost"}, "lost_share": {"$ref": "#/$defs/lost"},
         "loses_nothing_share": {"type": ["number", "null"]},
         "details": {"type": "array", "items": {"type": "object", "properties": {
           "job_id": {"type": "integer"}, "name": {"type": ["string", "null"]}, "state": {"type": "string"},
           "device": {"enum": ["gpu", "cpu"]}, "censored": {"type": "boolean"},
           "metric": {"type": "string"}, "mode": {"enum": ["max", "min"]},
           "stopped_at": {"type": ["object", "null"], "properties": {
             "attempt": {"type": "integer"}, "epoch": {"type": ["integer", "null"]}, "time": {"type": "string"},
             "rule": {"enum": ["patience", "target", "divergence"]}, "reason": {"type": "string"},
             "partition": {"type": "integer"}, "offset": {"type": "integer"}}},
           "epochs": {"$ref": "#/$defs/amount"}, "hours": {"$ref": "#/$defs/amount"},
           "gpu_hours": {"$ref": "#/$defs/amount"},
           "best": {"$ref": "#/$defs/value"}, "best_before_stop": {"$ref": "#/$defs/value"},
           "lost": {"type": ["number", "null"]}, "lost_share": {"type": ["number", "null"]}}}}}}}},
     "$defs": {
       "amount": {"type": "object", "properties": {"total": {"type": "number"}, "saved": {"type": "number"},
                  "share": {"type": ["number", "null"], "description": "saved of total"}}},
       "lost": {"type": "object", "properties": {"mean": {"type": ["number", "null"]},
                "median": {"type": ["number", "null"]}, "worst": {"type": ["number", "null"]}}},
       "value": {"type": ["object", "null"], "properties": {"epoch": {"type": "integer"},
                 "value": {"type": "number"}}}}}
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ConfigDict

from events.codec import MalformedEvent, decode
from events.dedupe import SessionMarks, TooManyGaps
from events.envelope import Event, Record
from events.types.vocabulary import Fact
from producers.database import open_pool
from projections.archive.reading import Archive, read_history
from projections.settings import Settings
from projections.simulation.outcome import RuleOutcome, RunOutcome, outcome_of, outcome_over
from projections.simulation.past_runs import Filter, PastRun, past_runs
from projections.simulation.rule_texts import RuleText
from projections.simulation.what_if import Score, WhatIf
from training_sdk.wire import JOBS, METRICS

FOLLOWED_MAX: Final = 10_000
"""Runs times rules that are followed at once, some 10 kB each; more runs are read in several passes over the topic."""


class Simulation(BaseModel):
    """``not_ended``: runs that are left out because they may go on. ``without_metric``: the jobs whose run never said a
    metric that a rule watches or is compared by; such a run is left out of every rule. ``unreadable``: records."""

    model_config = ConfigDict(frozen=True)

    runs: int
    not_ended: int
    without_metric: tuple[int, ...]
    unreadable: int
    rules: tuple[RuleOutcome, ...]


@dataclass(slots=True)
class Counted:
    """Decodes records and leaves out what was sent twice, as every read model does."""

    marks: dict[str, SessionMarks] = field(default_factory=dict)
    unreadable: int = 0

    def events(self, records: Sequence[Record]) -> list[Event[Fact]]:
        found = []
        for record in records:
            try:
                event = decode(record)
                assert event.seq is not None
                marks, new = self.marks.get(event.session, SessionMarks()).accept(event.seq)
            except (MalformedEvent, TooManyGaps):
                self.unreadable += 1
                continue
            if new:
                self.marks[event.session] = marks
                found.append(event)
        return found


Read = Callable[[str], AsyncIterator[list[Record]]]
"""All records of a topic in batches, each partition's in log order."""


@contextlib.asynccontextmanager
async def whole_history(settings: Settings) -> AsyncIterator[Read]:
    """What the log holds, and before it what only the archive has. Reading raises ArchiveBroken, Unavailable or
    LogSilent.

    Raises OSError or asyncpg.PostgresError where the archive's ledger cannot be reached.
    """
    pool = await open_pool(settings.database_url, size_max=2, name="epochlog simulate")
    try:
        archive = Archive.of(pool, settings)
        yield lambda topic: read_history(archive, settings.kafka_bootstrap_servers, settings.topic_prefix, topic)
    finally:
        await pool.close()


async def simulate(
    read: Read, rules: Sequence[RuleText], wanted: Filter | None = None, score: Score | None = None
) -> Simulation:
    """Every ended run that ``wanted`` takes, under every rule. Raises what ``read`` raises."""
    counted, everything = Counted(), dict[int, PastRun]()
    async for batch in read(JOBS):
        past_runs(counted.events(batch), everything)
    taken = [run for _, run in sorted(everything.items()) if run.visible and (wanted or Filter()).takes(run.job)]
    ended = [run for run in taken if run.job.ended]
    unreadable, at_once = counted.unreadable, max(1, FOLLOWED_MAX // max(1, len(rules)))
    details: list[list[RunOutcome]] = [[] for _ in rules]
    without: list[int] = []
    for start in range(0, len(ended), at_once):
        followed = {run.job.id: WhatIf(run, rules, score) for run in ended[start : start + at_once]}
        unreadable += await _follow(read, followed)
        for job_id, run in followed.items():
            if not all(run.measured(one) for one in run.scores):
                without.append(job_id)
                continue
            for number in range(len(rules)):
                one = run.scores[number]
                details[number].append(outcome_of(run.run, one, run.first_stop(number), run.best(one)))
    return Simulation(
        runs=len(ended) - len(without),
        not_ended=len(taken) - len(ended),
        without_metric=tuple(without),
        unreadable=unreadable,
        rules=tuple(outcome_over(rule.label, rule.given, found) for rule, found in zip(rules, details, strict=True)),
    )


async def _follow(read: Read, runs: Mapping[int, WhatIf]) -> int:
    """Feed the runs their metrics. Returns how many of their records cannot be read."""
    counted, keys = Counted(), {str(job_id).encode() for job_id in runs}
    async for batch in read(METRICS):
        for event in counted.events([record for record in batch if record.key in keys]):
            runs[event.job_id].saw(event)
    return counted.unreadable
