"""The read models and the archive: ``python -m projections migrate | run PROCESS | VERB ...``, with --help."""

from __future__ import annotations

import argparse
import asyncio
import sys

from producers.kafka.create_topics import TopicRefused
from producers.migrate import MigrationRefused
from projections.archive import commands as archive
from projections.registry import ARCHIVE, PROCESSES
from projections.replays import commands as replays
from projections.runtime import dead_letters
from projections.runtime.versions import WrongVersion
from projections.settings import Settings
from projections.simulation import command as simulation


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m projections", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("migrate", help="make topics, tables and read models that are missing")
    run = verbs.add_parser("run", help="follow the log until SIGTERM")
    run.add_argument("process", choices=PROCESSES)
    letters = verbs.add_parser("dead-letters", help="records that could not be applied: list, show, redrive, discard")
    dead_letters.add_verbs(letters)
    simulation.add_arguments(verbs.add_parser("simulate", help="what other settings would have done to past runs"))
    archive.add_arguments(verbs.add_parser("archive", help="look after the log's files in S3"))
    replays.add_verbs(verbs)
    options = parser.parse_args(arguments)
    settings = Settings.from_env()
    if options.verb == "migrate":
        return _migrate(settings)
    if options.verb == "dead-letters":
        return dead_letters.run(options, settings)
    if options.verb == "simulate":
        return simulation.run(options, settings)
    if options.verb == "archive":
        return archive.main(options, settings)
    if options.verb in ("rebuild", "verify", "flip-back"):
        return replays.run(options, settings)
    # Imported here: faust takes a second and is needed by no other verb, nor is pyarrow.
    if options.process == ARCHIVE:
        from projections.archive.archiver import run as run_archiver

        run_archiver(settings)
        return 0
    from projections.runtime.faust_worker import run as run_worker

    run_worker(options.process, settings)
    return 0


def _migrate(settings: Settings) -> int:
    from projections.migration import migrate_all

    try:
        done = asyncio.run(migrate_all(settings))
    except (MigrationRefused, TopicRefused, WrongVersion) as error:
        print(error, file=sys.stderr)
        return 1
    for line in done or ["nothing to do"]:
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
