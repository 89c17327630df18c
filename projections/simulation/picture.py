"""The trade-off of a simulation as a picture: what each rule saves against what it loses.

Importing it raises ImportError, with the remedy, where matplotlib is not installed: no service needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from projections.simulation.report import count
from projections.simulation.simulate import Simulation

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(f"a picture needs matplotlib (group `analysis` of pyproject.toml): {error}") from error

LEGEND_RULES_MAX: Final = 12
LINE_SHARE: Final = 0.045
"""Height of a label, as a share of the picture's: labels are set apart by so much."""


def draw(simulation: Simulation, path: Path) -> None:
    """Write figure() as a PNG. Raises OSError."""
    figure(simulation).savefig(path, format="png", dpi=120)


def figure(simulation: Simulation) -> Figure:
    """Left a point a rule, right a point for each run that a rule stops."""
    drawn = Figure(figsize=(13, 5.5), layout="constrained")
    rules, runs = drawn.subplots(1, 2)
    colors = _colors(len(simulation.rules))
    drawn.suptitle(f"Early stopping over {count(simulation.runs, 'past run')}")
    _draw_rules(rules, simulation, colors)
    _draw_runs(runs, simulation, colors)
    return drawn


def _draw_rules(axes: Axes, simulation: Simulation, colors: list[Any]) -> None:
    axes.set_title("each rule: mean over all runs")
    _name_axes(axes)
    places: dict[tuple[float, float], list[str]] = {}
    for rule, color in zip(simulation.rules, colors, strict=True):
        place = _place(rule.hours.share, rule.lost_share.mean)
        if place is not None:
            axes.plot(*place, "o", color=color, markersize=9)
            places.setdefault(place, []).append(rule.rule)
    bottom, top = axes.get_ylim()
    free = {"left": -1e300, "right": -1e300}
    for (x, y), labels in sorted(places.items(), key=lambda found: (found[0][1], found[0])):
        # Towards the middle of the picture, and above the label below.
        side = "right" if x > 50 else "left"
        height = LINE_SHARE * (top - bottom)
        at = max(y, free[side])
        free[side] = at + height * len(labels)
        axes.annotate(
            "\n".join(labels),
            xy=(x, y),
            xytext=(x - 3 if side == "right" else x + 3, at),
            ha=side,
            va="bottom" if len(labels) > 1 else "center",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.7},
        )


def _draw_runs(axes: Axes, simulation: Simulation, colors: list[Any]) -> None:
    axes.set_title("each run that a rule stops (hollow: censored)")
    _name_axes(axes)
    for rule, color in zip(simulation.rules, colors, strict=True):
        for run in rule.details:
            place = None if run.stopped_at is None else _place(run.hours.share, run.lost_share)
            if place is not None:
                inside = "none" if run.censored else color
                axes.plot(*place, "o", markeredgecolor=color, markerfacecolor=inside, markersize=5, alpha=0.8)
    if len(simulation.rules) <= LEGEND_RULES_MAX:
        for rule, color in zip(simulation.rules, colors, strict=True):
            axes.plot([], [], "o", color=color, label=rule.rule)
        axes.legend(fontsize=8, loc="upper left")


def _name_axes(axes: Axes) -> None:
    axes.set_xlabel("hours saved (% of all hours)")
    axes.set_ylabel("best metric lost (% of the run's best)")
    axes.set_xlim(-3, 103)
    axes.axhline(0, color="0.8", linewidth=1, zorder=0)
    axes.grid(alpha=0.25)


def _place(saved: float | None, lost: float | None) -> tuple[float, float] | None:
    return None if saved is None or lost is None else (100 * saved, 100 * lost)


def _colors(number: int) -> list[Any]:
    if number <= 10:
        return [colormaps["tab10"](index) for index in range(number)]
    return [colormaps["viridis"](index / (number - 1)) for index in range(number)]
