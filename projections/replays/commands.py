"""The verbs ``rebuild``, ``verify`` and ``flip-back`` of ``python -m projections``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from aiokafka.errors import KafkaError

from producers.database import Pool, open_pool
from projections.archive.reading import Archive, history_records
from projections.mlflow_mirror.mirror import Mlflow
from projections.mlflow_mirror.recorded import recorded
from projections.registry import MLFLOW, PROJECTIONS, Projection, of_process, projection_named
from projections.replays.differences import Comparison
from projections.replays.rebuild import Rebuilt, flip_back, rebuild
from projections.replays.shadow import NotThere
from projections.replays.verify import verify
from projections.runtime.build import Builder
from projections.runtime.ceiling import CeilingReached
from projections.runtime.expired import RecordsExpired
from projections.runtime.failures import Unavailable
from projections.runtime.replay import LogSilent
from projections.runtime.source import RecordsMissing
from projections.runtime.versions import WrongVersion
from projections.settings import Settings

EQUAL: Final = 0
DIFFERS: Final = 1
CANNOT_SAY: Final = 2
POOL_SIZE: Final = 6
STATEMENT_TIMEOUT_S: Final = 600.0
SERVER_SETTINGS: Final = {
    # Commits do not wait for the disk: rows and offsets are lost together, and the switch waits for all of them.
    "synchronous_commit": "off",
    # A killed process lets go of its locks, also while a long statement runs.
    "client_connection_check_interval": "2s",
}
REFUSED: Final = (
    *(WrongVersion, NotThere, CeilingReached, LogSilent, RecordsExpired, RecordsMissing, Unavailable, KafkaError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError),
)
PROCESSES: Final = tuple(dict.fromkeys(projection.process for projection in PROJECTIONS))
NAMES_HELP: Final = f"read models ({', '.join(p.name for p in PROJECTIONS)}) or processes ({', '.join(PROCESSES)})"


def add_verbs(verbs: Any) -> None:
    """``verbs``: what argparse's add_subparsers gave."""
    again = verbs.add_parser(
        "rebuild",
        help="fold read models from their log again, beside the live ones, and switch in one moment",
        description="Readers and workers go on. Differences to the live one are reported, and healed by the switch. "
        "May be interrupted and run again: it goes on. Exit code 0: done; 1: not switched, because something "
        "differs and --only-if-equal was given; 2: could not be done.",
    )
    again.add_argument("names", nargs="*", metavar="NAME", help=NAMES_HELP)
    again.add_argument("--all", action="store_true", help="every read model")
    again.add_argument("--only-if-equal", action="store_true", help="do not switch where anything differs")
    again.add_argument(
        "--mirror-again",
        action="store_true",
        help="tell MLflow everything once more, where its store was lost (the same points and runs as before); "
        "without it a rebuild of mlflow-runs and mlflow-metrics tells MLflow nothing",
    )
    again.add_argument("--json", action="store_true", help="what was done, as JSON on standard output")
    check = verbs.add_parser(
        "verify",
        help="fold read models from their log again and report every row that differs from the live ones",
        description="Changes nothing. Exit code 0: equal; 1: something differs; 2: cannot say.",
    )
    check.add_argument("names", nargs="*", metavar="NAME", help=f"{NAMES_HELP}; all when none is given")
    check.add_argument("--json", action="store_true", help="what was found, as JSON on standard output")
    back = verbs.add_parser(
        "flip-back",
        help="make the version live that was live before, after bringing it up to date",
        description="The retired version is kept until the next build. Exit code 0: done; 2: could not be done.",
    )
    back.add_argument("names", nargs="+", metavar="NAME", help=NAMES_HELP)
    back.add_argument("--json", action="store_true", help="what was done, as JSON on standard output")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the verb that ``options`` names. Returns the exit code."""
    try:
        wanted = named(options.names) or (PROJECTIONS if options.verb == "verify" or options.all else ())
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return CANNOT_SAY
    if not wanted:
        print(f"name what to rebuild, or say --all; {NAMES_HELP}", file=sys.stderr)
        return CANNOT_SAY
    return asyncio.run(_each(options, settings, wanted))


def named(names: Sequence[str]) -> tuple[Projection, ...]:
    """Read models by their names or by their process. Raises KeyError with the names there are."""
    found: dict[str, Projection] = {}
    for name in names:
        for projection in of_process(name) or (projection_named(name),):
            found[projection.name] = projection
    return tuple(found.values())


async def _each(options: argparse.Namespace, settings: Settings, wanted: Sequence[Projection]) -> int:
    """One after the other: one that fails stops none of the others. The worst exit code counts."""
    code, documents = EQUAL, {}
    for projection in wanted:
        try:
            async with _pool(settings) as pool:
                document, lines, this = await _one(options, settings, pool, projection)
        except REFUSED as error:
            document = {"error": f"{type(error).__name__}: {error}"}
            lines, this = [f"{projection.name}: {document['error']}"], CANNOT_SAY
        documents[projection.name] = document
        code = max(code, this)
        if not options.json:
            print("\n".join(lines), flush=True)
    if options.json:
        print(json.dumps(documents, indent=1, default=str))
    return code


async def _one(
    options: argparse.Namespace, settings: Settings, pool: Pool, projection: Projection
) -> tuple[dict[str, Any], list[str], int]:
    records = history_records(Archive.of(pool, settings), settings)
    builder = Builder(pool, projection, records, await _outside(options, settings, pool, projection))
    if options.verb == "verify":
        found = await verify(builder, quiet=options.json)
        lines = [f"{projection.name}: {'equal' if found.equal else 'differs'}", *_said(found)]
        return found.document(), lines, EQUAL if found.equal else DIFFERS
    if options.verb == "flip-back":
        done = await flip_back(builder, quiet=options.json)
    else:
        done = await rebuild(builder, only_if_equal=options.only_if_equal, quiet=options.json)
    return done.document(), _told(projection, done), EQUAL if done.flipped else DIFFERS


async def _outside(options: argparse.Namespace, settings: Settings, pool: Pool, projection: Projection) -> Any:
    """What was told once is not told again: neither stop decisions nor, unless it is asked for, MLflow's runs."""
    if projection.process != MLFLOW:
        return None

    def mlflow() -> Mlflow:
        return Mlflow(settings.mlflow_tracking_uri)

    if options.verb == "rebuild" and options.mirror_again:
        return mlflow()
    return await recorded(pool, None if options.verb == "verify" else mlflow)


@asynccontextmanager
async def _pool(settings: Settings) -> AsyncIterator[Pool]:
    pool = await open_pool(
        settings.database_url,
        size_max=POOL_SIZE,
        name="epochlog rebuild",
        command_timeout_s=STATEMENT_TIMEOUT_S,
        server_settings=SERVER_SETTINGS,
    )
    try:
        yield pool
    finally:
        await pool.close()


def _told(projection: Projection, done: Rebuilt) -> list[str]:
    name, other = projection.name, done.other
    if not done.flipped:
        assert other is not None
        kept = f"the build {other.schema_name} ({_size(done.other_bytes)}) is kept; `rebuild {name}` switches to it"
        lines = [f"{name}: differs, {done.live.schema_name} stays live; {kept}"]
    else:
        how = "" if done.comparison is not None else ", built by another process"
        lines = [f"{name}: {done.live.schema_name} is live{how}{_took(done)}"]
        if other is not None:
            kept = f"{other.schema_name} ({_size(done.other_bytes)} on disk) is kept until the next build"
            lines.append(f"  {kept}; `python -m projections flip-back {name}` makes it live again")
    return lines if done.comparison is None else [*lines, *_said(done.comparison)]


def _took(done: Rebuilt) -> str:
    took = ", ".join(f"{phase} {seconds:,.1f} s" for phase, seconds in done.seconds.items())
    return f" ({took})" if took else ""


def _said(found: Comparison) -> list[str]:
    counted = ", ".join(f"{count:,} of {table}" for table, count in sorted(found.rows.items()))
    lines = [] if found.equal else [f"  {found.total:,} rows differ: {counted}"]
    lines += [f"    {one}" for one in found.shown]
    return lines + [f"  not comparable: {one}" for one in found.not_comparable]


def _size(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB"
