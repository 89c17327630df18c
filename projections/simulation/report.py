"""A simulation for people: a table on the terminal, and what it does not say. The picture is picture.py's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.table import Table

from projections.simulation.outcome import Amount
from projections.simulation.simulate import Simulation

UNKNOWN: Final = "–"
JOBS_NAMED_MAX: Final = 10


def table(simulation: Simulation) -> Table:
    """A row a rule, in their order."""
    found = Table(title=f"Early stopping over {simulation.runs} past runs")
    found.add_column("rule", overflow="fold")
    for name in ("stopped", "epochs saved", "hours saved", "GPU-hours saved", "lost: mean", "median", "worst"):
        found.add_column(name, justify="right")
    found.add_column("lose nothing", justify="right")
    for rule in simulation.rules:
        shares = rule.lost_share
        found.add_row(
            rule.rule,
            f"{rule.stopped} of {rule.runs}",
            _amount(rule.epochs, ".0f"),
            _amount(rule.hours, ".3g"),
            _amount(rule.gpu_hours, ".3g") if rule.gpu_hours.total else "CPU only",
            *(_percent(share, 2) for share in (shares.mean, shares.median, shares.worst)),
            _percent(rule.loses_nothing_share, 0),
        )
    return found


def notes(simulation: Simulation) -> Iterator[str]:
    """What the table does not say, a line each."""
    yield "lost: best metric of the whole run minus the best before the stop, relative to the former; over all runs"
    on_cpu = {run.job_id for rule in simulation.rules for run in rule.details if run.device == "cpu"}
    if on_cpu:
        yield f"{count(len(on_cpu), 'run')} on a CPU: hours of wall time, no GPU-hours"
    censored = {run.job_id for rule in simulation.rules for run in rule.details if run.censored}
    if censored:
        yield (
            f"{count(len(censored), 'run')} ended by early stopping when trained (censored): what would have come "
            f"after it is unknown, so of them saved and lost are lower bounds: {_jobs(sorted(censored))}"
        )
    blind = max((rule.nothing_before for rule in simulation.rules), default=0)
    if blind:
        yield f"up to {count(blind, 'run')} stopped before anything was measured: in no mean of what is lost"
    if simulation.without_metric:
        missing = _jobs(simulation.without_metric)
        yield f"{count(len(simulation.without_metric), 'run')} left out for want of the metric: {missing}"
    if simulation.not_ended:
        yield f"{count(simulation.not_ended, 'run')} left out: not ended"
    if simulation.unreadable:
        yield f"{count(simulation.unreadable, 'record')} left out: no event (see the dead letters)"


def _amount(amount: Amount, form: str) -> str:
    share = UNKNOWN if amount.share is None else f"{100 * amount.share:.0f} %"
    return f"{amount.saved:{form}} ({share})"


def _percent(share: float | None, digits: int) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _jobs(numbers: tuple[int, ...] | list[int]) -> str:
    more = f" and {len(numbers) - JOBS_NAMED_MAX} more" if len(numbers) > JOBS_NAMED_MAX else ""
    return f"job {', '.join(str(number) for number in numbers[:JOBS_NAMED_MAX])}{more}"
