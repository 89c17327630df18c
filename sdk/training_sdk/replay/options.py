"""What ``python -m training_sdk export`` takes. Loads nothing of the extra, so that every command can list it."""

from __future__ import annotations

import argparse
from pathlib import Path

from training_sdk.replay.selection import SOURCES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="ends with .parquet, .csv or .jsonl")
    parser.add_argument(
        "--rows",
        choices=["events", "points", "lines"],
        default="events",
        help="one row an event, a metric point or a log line",
    )
    parser.add_argument("--topic", action="append", help="e.g. training.metrics; several times for several")
    parser.add_argument("--job", action="append", type=int, metavar="ID")
    parser.add_argument(
        "--type", action="append", metavar="TYPE", help="e.g. training.checkpoint.saved, of any version"
    )
    parser.add_argument("--name", action="append", metavar="METRIC", help="with --rows points, e.g. train/loss")
    parser.add_argument("--since", metavar="TIME", help="appended then or later: 2026-11-24, 2026-11-24T10:30:00Z")
    parser.add_argument("--until", metavar="TIME", help="appended before then")
    parser.add_argument(
        "--offsets", action="append", metavar="TOPIC/PARTITION:FIRST-NEXT", help="e.g. training.logs/3:100-200"
    )
    parser.add_argument("--source", choices=SOURCES, default="auto")
    parser.add_argument("--keep-duplicates", action="store_true", help="what a sender sent twice stays twice")
    parser.add_argument("--keep-malformed", action="store_true", help="records that are no event end nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
