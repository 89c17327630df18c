"""``python -m benchmarks [name ...] [--quick] [--no-peers]``: measure, print a table with ratios, write JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rich.console import Console

from benchmarks import ingest, live_latency, read, rebuild, sdk_call
from benchmarks.place import Place, a_place
from benchmarks.report import Measurement, number, print_report, write_json

BENCHMARKS: Final[Mapping[str, Callable[[Place], Iterator[Measurement]]]] = {
    "sdk_call": sdk_call.measure,
    "ingest": ingest.measure,
    "read": read.measure,
    "live_latency": live_latency.measure,
    "rebuild": rebuild.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all when none is given")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: does it run, roughly how fast")
    parser.add_argument("--no-peers", action="store_true", help="ours only")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    measurements: list[Measurement] = []
    with a_place(quick=options.quick, peers=not options.no_peers) as place:
        for name in options.names or BENCHMARKS:
            console.print(f"[bold]{name}[/]")
            for one in BENCHMARKS[name](place):
                measurements.append(one)
                line = f"  {one.system}: {one.what}: {number(one.value)} {one.unit}"
                console.print(line, markup=False, highlight=False)
        own_stack = place.own_stack
    print_report(console, measurements)
    console.print(f"Written to {write_json(measurements, quick=options.quick, own_stack=own_stack)}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
