"""Whether a run that says nothing is lost, found again, or gone: a judgement by clock, and pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from events.job import Job
from events.lifecycle import JobState
from events.types.vocabulary import utc_text
from producers.commands import JudgeFound, JudgeGone, JudgeLost
from trainers.launcher.plan import Lease

SDK_SENDER: Final = "sdk"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. ``http_s`` for runs without heartbeats: they only use the HTTP callbacks, or have not begun yet."""

    heartbeat_s: float
    http_s: float
    give_up_s: float

    def of(self, job: Job) -> float:
        beats = any(s.attempt == job.attempt and s.sender == SDK_SENDER for s in job.sessions.values())
        return self.heartbeat_s if beats else self.http_s


@dataclass(frozen=True, slots=True)
class Signs:
    """Of the present attempt's life. ``last``: the newest heartbeat or callback, None for none yet."""

    last: datetime | None = None


Judgement = JudgeLost | JudgeFound | JudgeGone


def judge(
    job: Job,
    signs: Signs,
    watching_since: datetime,
    patience: Patience,
    now: datetime,
    *,
    run_lives: bool,
    how_it_ended: str | None,
) -> Judgement | None:
    """What its silence means; None for nothing.

    ``watching_since``: from when on the log was seen up to its end without a break, because silence before counts for
    nothing. ``run_lives``: somebody who holds the job has, or may have, its process. ``how_it_ended``: in words, where
    it is known that the process is over.
    """
    # What changed the job last may have been its trainer's word, too.
    heard = [moment for moment in (signs.last, job.updated_at) if moment is not None]
    silent_s = (now - max(watching_since, *heard)).total_seconds()
    match job.state:
        case JobState.LOST:
            return _of_a_lost_one(job, signs, patience, now, how_it_ended)
        case JobState.STARTING | JobState.RUNNING if silent_s > patience.of(job):
            return JudgeLost(reason=f"no sign of life for {silent_s:.0f} s", last_seen=_text(signs.last))
        case JobState.STOPPING | JobState.PAUSING if silent_s > patience.of(job) and not run_lives:
            return JudgeGone(reason=f"It was told to end; no sign of life for {silent_s:.0f} s since.")
    return None


def _of_a_lost_one(
    job: Job, signs: Signs, patience: Patience, now: datetime, how_it_ended: str | None
) -> Judgement | None:
    assert job.lost_at is not None, f"job {job.id} is lost since no time"
    if signs.last is not None and signs.last > job.lost_at:
        return JudgeFound(reason=f"a sign of life at {_text(signs.last)}")
    if how_it_ended is not None:
        return JudgeGone(reason=f"It was lost, and {how_it_ended}.")
    lost_s = (now - job.lost_at).total_seconds()
    return JudgeGone(reason=f"No sign of life for {lost_s:.0f} s.") if lost_s > patience.give_up_s else None


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)


def held_elsewhere(lease: Lease | None, launcher: str, now: datetime) -> bool:
    return lease is not None and lease.launcher != launcher and lease.expires_at > now
