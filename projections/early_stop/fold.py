"""The fold of early stopping: the rules over ``training.metrics``, their state in Postgres, decisions to the outbox.

A decision is told in the transaction that remembers it, and only where the runner hands over the way out: whoever
rebuilds or checks a read model does not, so replay tells nobody anything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from events.early_stopping import EarlyStopping, read_settings
from events.envelope import Event
from events.types.jobs import StopDecided
from events.types.metrics import MetricsReported
from events.types.sessions import SessionOpened
from producers.database import Connection
from producers.queries import load_queries
from projections.early_stop.attempts import Attempt, opened
from projections.early_stop.decision import decision_of
from projections.early_stop.rules import Verdict
from projections.early_stop.watch import from_json, judge, rows_of, to_json

TABLES: Final = Path(__file__).with_suffix(".sql")
logger = logging.getLogger(__name__)
queries: Final = load_queries(TABLES)

Tell = Callable[[Connection, int, int, StopDecided, datetime], Awaitable[object]]
"""producers.decisions.append_decision, where the decision is to be acted on."""


async def note_past(tx: Connection, ends: Mapping[int, int]) -> None:
    """The read model is new on an old log: what lies before ``ends``, by partition, is past."""
    rows = [{"partition": partition, "end_offset": end} for partition, end in ends.items() if end]
    await queries.note_past(tx, rows)


async def open_attempt(tx: Connection, events: Sequence[Event[SessionOpened]], tell: Tell | None = None) -> None:
    """The first settings that a session of the attempt names are the attempt's."""
    for event in events:
        assert event.position is not None
        rows = await queries.attempts_of(tx, job_id=event.job_id)
        known = {
            row["attempt"]: Attempt(row["settings"], None if row["state"] is None else from_json(row["state"]))
            for row in rows
        }
        attempt = opened(known, event.attempt, event.data.early_stopping)
        if attempt is None:
            continue
        _, ignored = read_settings(attempt.settings)
        for problem in ignored:
            logger.warning("job %d, attempt %d: early_stopping: %s", event.job_id, event.attempt, problem)
        await queries.open_attempt(
            tx,
            job_id=event.job_id,
            attempt=event.attempt,
            settings=attempt.settings,
            ignored=list(ignored),
            opened_offset=event.position.offset,
            watched=attempt.state is not None,
            state=None if attempt.state is None else to_json(attempt.state),
        )


async def observe(tx: Connection, events: Sequence[Event[MetricsReported]], tell: Tell | None = None) -> None:
    """Only the newest attempt's reports count: what an older one still says is late."""
    rows = await queries.watched(tx, job_ids=sorted({event.job_id for event in events}))
    runs = {row["job_id"]: (row["attempt"], read_settings(row["settings"])[0]) for row in rows}
    before = {row["job_id"]: from_json(row["state"]) for row in rows}
    states = dict(before)
    for event in events:
        attempt, settings = runs.get(event.job_id, (None, None))
        if settings is None or event.attempt != attempt:
            continue
        for row in rows_of(settings, event):
            states[event.job_id], verdict = judge(settings, states[event.job_id], row)
            if verdict is not None:
                await _decide(tx, event, settings, verdict, tell)
    changed = [job_id for job_id, state in states.items() if state != before[job_id]]
    await queries.save_states(
        tx, [{"job_id": job_id, "attempt": runs[job_id][0], "state": to_json(states[job_id])} for job_id in changed]
    )


async def _decide(
    tx: Connection, event: Event[MetricsReported], settings: EarlyStopping, verdict: Verdict, tell: Tell | None
) -> None:
    assert event.position is not None
    assert event.append_time is not None
    decided = decision_of(event, settings, verdict)
    place = {"partition": event.position.partition, "log_offset": event.position.offset}
    await queries.save_decision(
        tx,
        job_id=event.job_id,
        attempt=event.attempt,
        rule=verdict.rule,
        decision_id=decided.decision_id,
        decided_at=event.append_time,
        decision=decided.model_dump(mode="json"),
        **place,
    )
    if tell is not None and event.position.offset >= await queries.past_end(tx, partition=event.position.partition):
        await tell(tx, event.job_id, event.attempt, decided, event.append_time)
        logger.info("job %d, attempt %d is to stop: %s", event.job_id, event.attempt, decided.reason)
