from __future__ import annotations

from api.live.messages import STATUS_CHANGES
from events.asyncapi import example_of
from events.evolution import evolve
from events.job import Job
from events.lifecycle import JobState
from events.registry import EVENT_TYPES
from events.types.jobs import StopDecided
from tests.builders import event
from training_sdk.wire import JOBS


def test_every_event_that_may_change_a_job_s_state_makes_the_status_be_looked_at() -> None:
    change = set()
    for event_type in EVENT_TYPES:
        if event_type.step is not None or event_type.topics != (JOBS,):
            continue
        data = event_type.model.model_validate(example_of(event_type)["data"])
        for state in JobState:
            for attempt in (0, 1):
                job = Job(id=25, state=state, attempt=attempt)
                if evolve(job, event(data, attempt=1)).state is not state:
                    change.add(event_type.model)
    assert StopDecided in change and len(change) > 10
    assert change <= set(STATUS_CHANGES)
