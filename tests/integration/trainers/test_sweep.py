"""Spools that nobody looks after reach the log: of trainers run by hand, of machines that were switched off."""

from __future__ import annotations

import signal

from events.types.sessions import SessionClosed
from tests.integration.sdk.reading import events_of, once, steps_of, unbroken
from tests.services import World
from trainers.launcher.settings import Settings
from trainers.launcher.sweep import sweep

CALLS = 300


async def test_a_left_over_spool_is_shipped_and_closed_unless_somebody_supervises_it(migrated_world: World) -> None:
    # Without a broker, as after an outage in which the machine was switched off.
    trainer = migrated_world.start(
        *("-m", "tests.integration.sdk.scripts", "killed", str(CALLS)),
        log="trainer",
        JOB_ID="25",
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9",
    )
    assert trainer.wait(60) == -signal.SIGKILL
    settings = Settings.from_env(migrated_world.environment())
    await sweep(settings, supervised={25})
    assert await events_of(migrated_world) == []
    for _ in range(2):
        await sweep(settings, supervised=set())
    events = await events_of(migrated_world)
    assert sorted(step for step in steps_of(once(events)) if step is not None) == list(range(CALLS))
    assert unbroken(events)
    assert [e.data.closed_by for e in events if isinstance(e.data, SessionClosed)] == ["reaper"]
