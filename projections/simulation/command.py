"""``python -m projections simulate early-stopping``: what it takes, and what it prints."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
from rich.console import Console

from projections.archive.reading import ArchiveBroken
from projections.runtime.failures import Unavailable
from projections.runtime.replay import LogSilent
from projections.settings import Settings
from projections.simulation.past_runs import Filter
from projections.simulation.report import notes, table
from projections.simulation.rule_texts import RuleRefused, RuleText, rules_of
from projections.simulation.simulate import Simulation, simulate, whole_history
from projections.simulation.what_if import Score

WHAT: Final = """What other rules of early stopping would have saved and cost over all runs that have ended: epochs and
hours saved, and by how much the best value of a metric would have been missed. Reads the log; writes nothing, stops
nobody."""
RULES: Final = """A rule is what config["early_stopping"] of a job holds: metric, mode, patience, min_delta, ...
  patience=5,min_delta=0.001        without a metric: the job's primary metric, else val_loss
  '{"metric": "mAP50", "target": 0.9}'
  @rules.json                       an object, or a list of objects
  own                               each run's own settings, as they were"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    command = kinds.add_parser(
        "early-stopping",
        help="other rules over all past runs",
        description=WHAT,
        epilog=RULES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--rule", action="append", default=[], help="a rule (below); may be given several times")
    command.add_argument(
        "--grid", nargs="+", default=[], metavar="NAME=VALUES", help="all combinations: patience=3,5 min_delta=0,0.01"
    )
    command.add_argument("--score", metavar="METRIC", help="compare by this metric (default: the one a rule watches)")
    command.add_argument("--score-mode", choices=("max", "min"), help="what is better (default: by the metric's name)")
    command.add_argument("--job", type=int, action="append", default=[], help="only this job; may be repeated")
    command.add_argument("--model", action="append", default=[], help="only runs of this model; may be repeated")
    command.add_argument("--framework", action="append", default=[], help="only of this framework; may be repeated")
    command.add_argument("--dataset", type=int, action="append", default=[], help="only on this data set; repeatable")
    command.add_argument("--since", type=_moment, help="only jobs created since then: 2026-01-31 or with a time, UTC")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw saved against lost into this file")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all of it, each run too; - is the output")


def run(options: argparse.Namespace, settings: Settings) -> int:
    try:
        rules = rules_of(options.rule, options.grid)
        if not rules:
            raise RuleRefused("no rule is given; give --rule patience=5, or --grid patience=3,5,10")
        score = None if options.score is None else Score.named(options.score, options.score_mode)
        if options.plot is not None:
            # Before the log is read; no service of ours has matplotlib.
            from projections.simulation.picture import draw
    except (ValueError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    wanted = Filter(
        jobs=frozenset(options.job),
        models=frozenset(options.model),
        frameworks=frozenset(options.framework),
        datasets=frozenset(options.dataset),
        since=options.since,
    )
    try:
        found = asyncio.run(_simulated(settings, rules, wanted, score))
    except (LogSilent, ArchiveBroken, Unavailable, OSError, asyncpg.PostgresError) as error:
        print(error, file=sys.stderr)
        return 1
    to_output = options.json is not None and str(options.json) == "-"
    console = Console(stderr=to_output)
    console.print(table(found))
    for line in notes(found):
        console.print(line, highlight=False)
    text = found.model_dump_json(indent=2) + "\n"
    if to_output:
        sys.stdout.write(text)
    elif options.json is not None:
        options.json.write_text(text, encoding="utf-8")
    if options.plot is not None:
        draw(found, options.plot)
    return 0


async def _simulated(
    settings: Settings, rules: tuple[RuleText, ...], wanted: Filter, score: Score | None
) -> Simulation:
    async with whole_history(settings) as read:
        return await simulate(read, rules, wanted, score)


def _moment(text: str) -> datetime:
    """Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
