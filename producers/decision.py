"""What a decision looks at, and what comes out of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from events.job import Job
from events.types.datasets import DatasetRegistered
from events.types.vocabulary import Fact
from producers.catalogue import Offer
from producers.errors import NotFound


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision may look at: the job as it is, the time, and what was looked up for the command."""

    id: int
    now: datetime
    job: Job | None = None
    dataset: DatasetRegistered | None = None
    offer: Offer = field(default_factory=Offer)


@dataclass(frozen=True, slots=True)
class Decision:
    """Facts to append, and the answer. No facts: nothing changes, the answer says so.

    ``repeats``: where nothing changes, the facts of which one said the same before; its place is answered.
    """

    facts: list[Fact]
    answer: dict[str, Any]
    attempt: int = 0
    job_id: int | None = field(default=None)
    repeats: tuple[type[Fact], ...] = ()


def existing(situation: Situation) -> Job:
    """Raises NotFound."""
    if situation.job is None or not situation.job.exists:
        raise NotFound(f"there is no training job {situation.id}")
    return situation.job
