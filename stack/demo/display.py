"""Progress of a run in the terminal: one live bar, or a plain line per epoch where nobody watches a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stack.demo.follow import Followed


class Display:
    """Shows a Followed; as a context manager it takes the terminal's last line and gives it back."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._printed = ""
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.fields[status]}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
                console=console,
                refresh_per_second=5,
            )
            self._task = self._progress.add_task("", total=None, status="pending", numbers="")

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, followed: Followed) -> None:
        while followed.notes:
            self.console.print(f"  {followed.notes.popleft()}", markup=False, highlight=False)
        if self._progress is not None:
            self._progress.update(
                self._task,
                completed=followed.epoch,
                total=followed.total_epochs or None,
                status=followed.state or followed.status,
                numbers=numbers(followed),
            )
            return
        line = f"  {followed.state or followed.status}"
        if followed.total_epochs:
            line += f", epoch {followed.epoch} of {followed.total_epochs}"
        # A line per change, not one per frame.
        if line != self._printed:
            self._printed = line
            self.console.print(f"{line} {numbers(followed)}", markup=False, highlight=False)


def numbers(followed: Followed) -> str:
    parts = []
    if followed.loss is not None:
        parts.append(f"loss {followed.loss:.3f}")
    if followed.map50 is not None:
        parts.append(f"mAP50 {followed.map50:.3f}")
    if followed.checkpoints:
        parts.append(f"{followed.checkpoints} checkpoints")
    if followed.eta_s is not None and not followed.ended:
        parts.append(f"ETA {followed.eta_s:.0f} s")
    return "  ".join(parts)
