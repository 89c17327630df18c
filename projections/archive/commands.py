"""``python -m projections archive verify | repair``: exit code 0 when all is whole, 1 when not, 2 if it cannot tell."""

from __future__ import annotations

import argparse
import asyncio
import sys
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


def main(options: argparse.Namespace, settings: Settings) -> int:
    topics = options.topic or list(TOPIC_NAMES)
    try:
        report = asyncio.run(_check(settings, topics, repair=options.archive_verb == "repair"))
    except Exception as error:
        from projections.archive.archiver import transient

        if not transient(error):
            raise
        print(f"the archive cannot be looked at: {error or repr(error)}", file=sys.stderr)
        return 2
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
