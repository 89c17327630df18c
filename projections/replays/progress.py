"""How far a run of rebuild or verify is: on the terminal, and in Postgres for everybody else."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from producers.database import Pool
from producers.queries import load_queries

TELL_INTERVAL_S: Final = 1.0
LINE_INTERVAL_S: Final = 5.0
KEPT_RUNS: Final = 20
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(slots=True)
class Run:
    """One run over one read model. ``report`` is what a Builder calls."""

    pool: Pool
    row_id: int
    projection: str
    console: Console
    bar: Progress | None
    task: TaskID | None
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    first_done: int | None = None
    told_at: float = -TELL_INTERVAL_S
    printed_at: float = -LINE_INTERVAL_S
    phase: str = ""
    phase_since: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase, those that ended."""
    rate: float = 0.0
    result: dict[str, Any] | None = None
    state: str = "done"

    async def report(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != "replay":
            # Other phases count nothing: what was replayed stays to be seen.
            done, total = self.done, self.total
        self.done, self.total = done, total
        if self.first_done is None:
            self.began, self.first_done = now, done
        if now > self.began and done > self.first_done:
            self.rate = (done - self.first_done) / (now - self.began)
        news = phase != self.phase
        if news:
            self.end_phase(now)
            self.phase = phase
        if self.bar is not None and self.task is not None:
            said = f"{self.rate:,.0f} events/s" if phase == "replay" else ""
            self.bar.update(self.task, completed=done, total=total, phase=phase, rate=said)
        elif news or now - self.printed_at >= LINE_INTERVAL_S:
            self.printed_at = now
            self._print_line(phase, done, total)
        if news or now - self.told_at >= TELL_INTERVAL_S:
            self.told_at = now
            async with self.pool.acquire(timeout=30) as connection:
                await queries.tell(
                    connection, id=self.row_id, phase=phase, done=done, total=total, rate=self.rate or None
                )

    def end_phase(self, now: float) -> None:
        if self.phase:
            self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.phase_since, 3)
        self.phase, self.phase_since = "", now

    def _print_line(self, phase: str, done: int, total: int) -> None:
        line = f"{self.projection}: {phase}"
        if phase == "replay":
            left = f", {(total - done) / self.rate:,.0f} s left" if self.rate else ""
            line += f", {done:,} of {total:,} events, {self.rate:,.0f} events/s{left}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def names(self, schema_name: str) -> None:
        async with self.pool.acquire(timeout=30) as connection:
            await queries.name_schema(connection, id=self.row_id, schema_name=schema_name)


@contextlib.asynccontextmanager
async def watched(pool: Pool, projection: str, purpose: str, *, quiet: bool = False) -> AsyncIterator[Run]:
    """A run that is seen while it runs and whose end is kept, however it ends.

    Runs that a kill left behind are noted as interrupted by the next one; the caller holds the read model's lock.
    """
    async with pool.acquire(timeout=30) as connection:
        await queries.note_interrupted(connection, projection=projection)
        row_id = await queries.begin(connection, projection=projection, purpose=purpose)
        await queries.forget_old(connection, projection=projection, kept=KEPT_RUNS)
    console = Console(file=sys.stderr, quiet=quiet)
    with contextlib.ExitStack() as stack:
        bar, task = None, None
        if console.is_terminal and not quiet:
            columns = ("{task.description}", "{task.fields[phase]}")
            bar = stack.enter_context(
                Progress(
                    *map(TextColumn, columns),
                    BarColumn(),
                    TextColumn("{task.completed:,}/{task.total:,}"),
                    TextColumn("{task.fields[rate]}"),
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                )
            )
            task = bar.add_task(projection, total=0, phase="begins", rate="")
        run = Run(pool, row_id, projection, console, bar, task)
        state = "failed"
        try:
            yield run
            state = run.state
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            run.result = {"error": f"{type(error).__name__}: {error}"[:1_000]}
            raise
        finally:
            with contextlib.suppress(OSError):
                async with pool.acquire(timeout=30) as connection:
                    await queries.end(connection, id=row_id, state=state, result=run.result)
