"""Runs in memory: what the launcher asked for, for tests of the launcher without processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from events.job import Job
from trainers.launcher.backend import Run, RunState


class MemoryBackend:
    """``started``, ``terminated`` and ``hurried`` hold (job id, attempt) in the order of the calls."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []
        self.terminated: list[tuple[int, int]] = []
        self.hurried: list[tuple[int, int]] = []
        self._runs: dict[tuple[int, int], Run] = {}

    def start(self, job: Job, attempt: int) -> Run:
        known = self._runs.get((job.id, attempt))
        if known is not None and known.state is RunState.DONE:
            return known
        self.started.append((job.id, attempt))
        return self.take_over(job, attempt)

    def take_over(self, job: Job, attempt: int) -> Run:
        run = Run(job.id, attempt, RunState.SUPERVISED, Path(f"memory/job-{job.id}/attempt-{attempt}"))
        self._runs[job.id, attempt] = run
        return run

    def terminate(self, job_id: int, attempt: int, *, hurry: bool = False) -> bool:
        (self.hurried if hurry else self.terminated).append((job_id, attempt))
        return (job_id, attempt) in self._runs

    def how_it_ended(self, job_id: int, attempt: int) -> str | None:
        run = self._runs.get((job_id, attempt))
        return "it is done" if run is not None and run.state is RunState.DONE else None

    def runs(self) -> list[Run]:
        return [run for run in self._runs.values() if run.state is not RunState.DONE]

    def set_state(self, job_id: int, attempt: int, state: RunState) -> None:
        self._runs[job_id, attempt] = replace(self._runs[job_id, attempt], state=state)
