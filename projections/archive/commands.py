"""``python -m projections archive verify | repair | retention``. Exit code 2: nothing could be looked at."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from events.topics import TOPIC_NAMES
from producers.database import open_pool
from projections.settings import Settings

if TYPE_CHECKING:
    from projections.archive.check import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    verbs = parser.add_subparsers(dest="archive_verb", required=True)
    helps = {
        "verify": "compare the archive with its ledger, and with the log as far as that goes back; changes nothing",
        "repair": "as verify, and write what is broken anew from the log, where that still has it",
    }
    for name, text in helps.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("--topic", choices=TOPIC_NAMES, action="append", help="only this one; may be repeated")
    text = "let Kafka drop what is older than DAYS of the topics that it keeps for ever, if the archive has it, checked"
    retention = verbs.add_parser("retention", help=text, description=f"{text}. Exit code 0: set; 1: refused.")
    retention.add_argument("days", metavar="DAYS", help="a number, or: for-ever")
    retention.add_argument("--topic", choices=TOPIC_NAMES, action="append", help="only this one; may be repeated")


def main(options: argparse.Namespace, settings: Settings) -> int:
    """Run the verb that ``options`` names. Returns the exit code."""
    try:
        if options.archive_verb == "retention":
            return asyncio.run(_retention(options, settings))
        return _checked(options, settings)
    except Exception as error:
        from projections.archive.archiver import transient

        if not transient(error):
            raise
        print(f"the archive cannot be looked at: {error or repr(error)}", file=sys.stderr)
        return 2


def _checked(options: argparse.Namespace, settings: Settings) -> int:
    topics = options.topic or list(TOPIC_NAMES)
    report = asyncio.run(_check(settings, topics, repair=options.archive_verb == "repair"))
    for line in report.repaired:
        print(f"repaired  {line}")
    for line in report.differences:
        print(f"DIFFERENT {line}")
    print(
        f"{report.parts} parts with {report.records} records, {report.compared} of them compared with the log: "
        + (f"{len(report.differences)} differences" if report.differences else "all whole")
    )
    return 1 if report.differences else 0


async def _check(settings: Settings, topics: list[str], *, repair: bool) -> Report:
    # Imported here: pyarrow is needed by no other verb.
    from projections.archive.check import check
    from projections.archive.log_reader import LogReader
    from projections.archive.reading import Archive

    pool = await open_pool(settings.database_url, size_max=3, name="epochlog archive check")
    log = LogReader(settings)
    try:
        await log.start()
        return await check(Archive.of(pool, settings), log, topics, repair=repair)
    finally:
        await log.stop()
        await pool.close()


async def _retention(options: argparse.Namespace, settings: Settings) -> int:
    from projections.archive.log_reader import LogReader
    from projections.archive.reading import Archive
    from projections.archive.retention import DAYS_MIN, KEPT_FOR_EVER, keep_for, not_safe

    topics = options.topic or list(KEPT_FOR_EVER)
    if set(topics) - set(KEPT_FOR_EVER):
        print(f"only topics that are kept for ever can be shortened: {', '.join(KEPT_FOR_EVER)}", file=sys.stderr)
        return 1
    if options.days == "for-ever":
        await keep_for(settings, topics, None)
        print(f"kept for ever: {', '.join(topics)}")
        return 0
    if not options.days.isdigit() or int(options.days) < DAYS_MIN:
        print(f"DAYS is {options.days!r}; wanted for-ever, or a number of at least {DAYS_MIN}", file=sys.stderr)
        return 1
    pool = await open_pool(settings.database_url, size_max=2, name="epochlog archive retention")
    log = LogReader(settings)
    try:
        await log.start()
        problems = await not_safe(Archive.of(pool, settings), log, topics, int(options.days), datetime.now(UTC))
    finally:
        await log.stop()
        await pool.close()
    for line in problems:
        print(f"REFUSED {line}", file=sys.stderr)
    if problems:
        return 1
    await keep_for(settings, topics, int(options.days))
    print(f"kept for {options.days} days: {', '.join(topics)}")
    return 0
