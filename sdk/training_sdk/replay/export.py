"""``python -m training_sdk export``: a part of the log into a file."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from training_sdk.replay.frame import Frame
from training_sdk.replay.read import Reading, logs, metrics, read_events
from training_sdk.replay.selection import OffsetRange
from training_sdk.wire import LOGS, METRICS

FORMATS: Final[Mapping[str, Callable[[Frame, Path], int]]] = {
    ".parquet": Frame.to_parquet,
    ".csv": Frame.to_csv,
    ".jsonl": Frame.to_jsonl,
}
_OFFSETS: Final = re.compile(r"(?P<topic>[\w.]+)/(?P<partition>\d+):(?P<first>\d*)-(?P<next>\d*)")


def export(options: argparse.Namespace) -> int:
    """Write the file and return its number of rows.

    Raises ValueError for options that make no sense, SettingsError and LogUnreadable as reading does, and OSError.
    """
    write = FORMATS.get(options.to.suffix)
    if write is None:
        raise ValueError(f"--to is {str(options.to)!r}, wanted a name that ends with {', '.join(FORMATS)}")
    return write(_frame(options), options.to)


def _frame(options: argparse.Namespace) -> Frame:
    reading: Reading = {
        "since": options.since,
        "until": options.until,
        "offsets": _offsets(options.offsets),
        "source": options.source,
        "duplicates": "keep" if options.keep_duplicates else "drop",
        "errors": "keep" if options.keep_malformed else "raise",
        "progress": False if options.quiet else None,
    }
    if options.name and options.rows != "points":
        raise ValueError("--name chooses metrics; it goes with --rows points")
    if options.rows == "events":
        return read_events(options.topic, job_ids=options.job, types=options.type, **reading)
    topic = METRICS if options.rows == "points" else LOGS
    if options.topic not in (None, [topic]) or options.type:
        raise ValueError(f"--rows {options.rows} are those of {topic}; leave out --topic and --type")
    return metrics(options.job, options.name, **reading) if options.rows == "points" else logs(options.job, **reading)


def _offsets(given: list[str] | None) -> dict[str, dict[int, OffsetRange]] | None:
    if not given:
        return None
    ranges: dict[str, dict[int, OffsetRange]] = {}
    for text in given:
        found = _OFFSETS.fullmatch(text)
        if found is None:
            raise ValueError(f"--offsets is {text!r}, wanted e.g. training.logs/3:100-200 (200 is not included)")
        first, after = (int(found[name]) if found[name] else None for name in ("first", "next"))
        ranges.setdefault(found["topic"], {})[int(found["partition"])] = (first, after)
    return ranges
