"""Whatever is asked of a job, in whatever order, it comes to an end or can be brought to go on.

Decisions, fold and plan together, with a trainer in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from events.evolution import evolve
from events.job import Job
from events.lifecycle import JobState
from events.types.checkpoints import CheckpointSaved
from events.types.jobs import JobCompleted, JobFailed, JobStopped
from events.types.requests import LimitExceeded
from events.types.vocabulary import Fact
from producers.callbacks import Body
from producers.commands import (
    CancelJob,
    JudgeFound,
    JudgeGone,
    JudgeLost,
    LaunchJob,
    PauseJob,
    QueueJob,
    RecordStopped,
    RecordStopSignal,
    ResumeJob,
    RetryJob,
    StopJob,
)
from producers.decide import decide
from producers.decision import Situation
from producers.errors import Refused
from tests.builders import NOON, event, job_created, job_started, process_exited
from trainers.launcher.backend import Run, RunState
from trainers.launcher.plan import EndStopped, Launch, Queue, Retry, StartAgain, TakeOver, Terminate, plan

COMMANDS: dict[str, Body] = {
    "stop": StopJob(),
    "cancel": CancelJob(),
    "pause": PauseJob(),
    "resume": ResumeJob(),
    "retry": RetryJob(),
    "lost": JudgeLost(reason="silence"),
    "found": JudgeFound(reason="a word"),
}
TRAINER = ("tick", "start", "checkpoint", "obey", "die", "complete", "fail", "fail to upload", "limit", "launcher dies")
QUIET = (JobState.COMPLETED, JobState.STOPPED, JobState.FAILED, JobState.PAUSED)
MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Machine:
    """One job, its launcher, and the process of its present attempt (None: there is none)."""

    job: Job | None = None
    process: int | None = None
    told: bool = False
    seq: int = 0
    now: datetime = NOON
    launched: list[int] = field(default_factory=list)

    def happen(self, fact: Fact, attempt: int) -> None:
        self.seq += 1
        self.now += timedelta(seconds=1)
        session = f"{attempt:032x}"
        self.job = evolve(self.job, event(fact, seq=self.seq, attempt=attempt, session=session, time=self.now))

    def ask(self, command: Body) -> bool:
        try:
            decision = decide(Situation(25, self.now, job=self.job), command)
        except Refused:
            return False
        for fact in decision.facts:
            self.happen(fact, decision.attempt)
        return True

    def end(self, *facts: Fact) -> None:
        if self.process is not None:
            for fact in facts:
                self.happen(fact, self.process)
            self.process, self.told = None, False

    def tick(self, *, lose_launch: bool = False) -> None:
        assert self.job is not None
        self.now += MINUTE * 10
        runs = [] if self.process is None else [Run(25, self.process, RunState.SUPERVISED, Path("run"))]
        jobs = [self.job] if not self.job.ended or self.job.awaits_retry else []
        for action in plan(jobs, {}, runs, 1, "host/1", self.now):
            match action:
                case Launch():
                    launch = LaunchJob(attempt=action.attempt, launcher="host/1", reason=action.reason)
                    if self.ask(launch) and not lose_launch:
                        self._start(action.attempt)
                case StartAgain():
                    self._start(action.attempt)
                case Terminate():
                    self.told = True
                    self.ask(RecordStopSignal(kind=action.kind, signal="SIGTERM", reason=action.reason))
                case EndStopped():
                    self.ask(RecordStopped(reason=action.reason))
                case Retry():
                    self.ask(RetryJob(reason=action.reason, automatic=True))
                case Queue():
                    self.ask(QueueJob(reason=action.reason))
                case TakeOver():
                    raise AssertionError("its supervisor lives")

    def _start(self, attempt: int) -> None:
        assert self.process is None, "two processes at once"
        assert attempt >= max(self.launched, default=0), "an older attempt again"
        self.process = attempt
        self.launched.append(attempt)

    def trainer(self, name: str) -> None:
        stopped = JobStopped(stopped_at_epoch=1)
        match name:
            case "tick":
                self.tick()
            case "launcher dies":
                self.tick(lose_launch=True)
            case "start" if self.process is not None:
                self.happen(job_started(pid=self.process), self.process)
            case "checkpoint" if self.process is not None:
                uri = f"s3://c/attempt-{self.process}/x.pt"
                path = "s3://c/last.pt"
                self.happen(CheckpointSaved(checkpoint_path=path, object_uri=uri, resumable=True), self.process)
            case "obey" if self.told:
                self.end(stopped, process_exited(exit_code=0))
            case "die":
                self.end(process_exited(signal="SIGKILL"))
            case "complete":
                self.end(JobCompleted(), process_exited(exit_code=0))
            case "fail":
                self.end(JobFailed(error_code="OOM", error_message="m"), process_exited(exit_code=1))
            case "fail to upload":
                failed = JobFailed(error_code="CHECKPOINT_UPLOAD_FAILED", error_message="m")
                self.end(failed, process_exited(exit_code=1))
            case "limit" if self.process is not None:
                excess = LimitExceeded(limit="max_seconds", allowed=1, used=2, error_code="TIMEOUT", reason="long")
                self.happen(excess, self.process)
                self.told = True

    def settle(self, last_word: str) -> None:
        """Everybody does what is left to do: the launcher looks, the trainer obeys or comes to its end."""
        for _ in range(12):
            self.tick()
            if self.process is not None:
                self.trainer("start")
                self.trainer("obey" if self.told else last_word)
            assert self.job is not None
            if self.process is None and self.job.state is JobState.LOST:
                self.ask(JudgeGone(reason="its process is gone"))

    def state(self) -> JobState:
        assert self.job is not None
        return self.job.state


steps = st.lists(st.sampled_from([*COMMANDS, *TRAINER]), max_size=25)


@given(steps, st.sampled_from(["complete", "die", "fail"]))
def test_any_order_of_commands_and_accidents_ends_or_can_be_made_to_go_on(given_steps: list[str], word: str) -> None:
    machine = Machine()
    machine.happen(job_created(config={"max_retries": 2}), 0)
    for step in given_steps:
        if step in COMMANDS:
            machine.ask(COMMANDS[step])
        else:
            machine.trainer(step)
    machine.settle(word)
    assert machine.state() in QUIET, given_steps
    assert machine.process is None
    before = len(machine.launched)
    if machine.state() is JobState.PAUSED:
        assert machine.ask(ResumeJob())
    elif machine.state() is JobState.FAILED:
        assert machine.ask(RetryJob())
    else:
        return
    machine.settle("complete")
    assert machine.state() is JobState.COMPLETED
    assert len(machine.launched) == before + 1


@given(steps)
def test_a_cancel_ends_whatever_goes_on(given_steps: list[str]) -> None:
    machine = Machine()
    machine.happen(job_created(), 0)
    for step in given_steps:
        if step in COMMANDS:
            machine.ask(COMMANDS[step])
        else:
            machine.trainer(step)
    if not machine.ask(CancelJob()):
        assert machine.job is not None and machine.job.ended and not machine.job.awaits_retry
        return
    machine.settle("complete")
    assert machine.state() in (JobState.STOPPED, JobState.COMPLETED, JobState.FAILED)
    assert machine.job is not None and not machine.job.awaits_retry
