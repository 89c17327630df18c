"""What was measured, as a table with ratios and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"
OURS: Final = "epochlog"
SPIN_LOOPS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number. ``better`` says which direction wins; ``spin_s`` is how slow the machine was just before."""

    benchmark: str
    what: str
    system: str
    value: float
    unit: str
    better: str = "lower"
    note: str = ""
    spin_s: float = 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile; ``share`` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def spin_s() -> float:
    """Seconds that a fixed loop of pure Python takes now: shared machines slow down for minutes."""
    began, total = time.perf_counter(), 0
    for number in range(SPIN_LOOPS):
        total += number & 3
    return time.perf_counter() - began


def ratios(measurements: Sequence[Measurement]) -> dict[tuple[str, str], dict[str, float]]:
    """For each thing measured: how many times better ours is than each peer (below 1: worse)."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    ours = {(one.benchmark, one.what): one for one in measurements if one.system == OURS}
    for one in measurements:
        own = ours.get((one.benchmark, one.what))
        if one.system == OURS or own is None or own.value <= 0 or one.value <= 0:
            continue
        ratio = one.value / own.value if own.better == "lower" else own.value / one.value
        found.setdefault((one.benchmark, one.what), {})[one.system] = ratio
    return found


def machine() -> dict[str, Any]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
        "versions": {name: version(name) for name in ("trackio", "mlflow", "aiokafka", "asyncpg", "fastapi")},
    }


def print_report(console: Console, measurements: Sequence[Measurement]) -> None:
    times_better = ratios(measurements)
    systems = [OURS, *sorted({one.system for one in measurements} - {OURS})]
    table = Table(title="Measured in one run on one machine; ratio = times better than that peer", title_justify="left")
    for column in ("benchmark", "what", *systems):
        table.add_column(column, overflow="fold")
    for benchmark, what in dict.fromkeys((one.benchmark, one.what) for one in measurements):
        cells = []
        for system in systems:
            found = [one for one in measurements if (one.benchmark, one.what, one.system) == (benchmark, what, system)]
            ratio = times_better.get((benchmark, what), {}).get(system)
            text = f"{number(found[0].value)} {found[0].unit}" if found else ""
            cells.append(text + (f" ({ratio:.1f}x)" if ratio is not None else ""))
        table.add_row(benchmark, what, *cells)
    console.print(table)
    notes = dict.fromkeys(f"{one.benchmark}, {one.system}: {one.note}" for one in measurements if one.note)
    for note in notes:
        console.print(f"  {note}", markup=False, highlight=False)
    spins = [one.spin_s for one in measurements if one.spin_s]
    if spins:
        console.print(
            f"Machine noise: a fixed loop took {min(spins):.3f} to {max(spins):.3f} s before the benchmarks; "
            "treat ratios under 1.3 as ties.",
            highlight=False,
        )


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_json(measurements: Sequence[Measurement], *, quick: bool, own_stack: bool) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%d-%H%M%S', time.gmtime())}{'-quick' if quick else ''}.json"
    document = {
        "machine": machine(),
        "quick": quick,
        "own_stack": own_stack,
        "measurements": [asdict(one) for one in measurements],
        "times_better": [
            {"benchmark": benchmark, "what": what, "peer": peer, "ratio": round(ratio, 2)}
            for (benchmark, what), peers in ratios(measurements).items()
            for peer, ratio in peers.items()
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
