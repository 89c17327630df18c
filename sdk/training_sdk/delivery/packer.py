"""Calls to events: metric calls become columns, log lines become batches, the rest stays in order. Pure.

A call is a JSON array as ``client.py`` wrote it into the ring:
``["m", time, epoch, phase, step, {name: value}]`` (epoch and step -1: not given), ``["l", time, level, message, source,
metadata]``, ``["e", time, topic, type, data, options]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from training_sdk import wire

POINTS_MAX: Final = 1_000
NAMES_MAX: Final = 512
NAME_LENGTH_MAX: Final = 250
CELLS_MAX: Final = 30_000
DATA_BYTES_MAX: Final = 900_000
LINES_MAX: Final = 500
LINE_LENGTH_MAX: Final = 16_384
"""Characters of one log message; the rest is cut, and the message says so."""
EPOCH_MAX: Final = 10_000_000
STEP_MAX: Final = 2**53
NON_FINITE: Final = ("NaN", "Infinity", "-Infinity")
TENSOR: Final = "$tensor"
"""Key of a placeholder: the value is a tensor on a device, to be read by the sender."""

Call = list[Any]
Row = tuple[float, int | None, int | None, dict[str, float | int | str]]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event without its number. ``after_uploads``: may wait for announced checkpoints. ``upload``: whose
    announcement it is, 0 for none."""

    topic: str
    type: str
    time: str
    data: bytes
    after_uploads: bool = False
    upload: int = 0


@dataclass(slots=True)
class Packed:
    drafts: list[Draft] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What was wrong with calls, in words for the person who wrote them."""


def utc_text(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds and a Z, of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def no_tensor(number: int) -> float | None:
    """A placeholder whose process is gone: its value was on a device and died with it."""
    return None


def pack(calls: Iterable[Call], tensor: Callable[[int], float | None] = no_tensor) -> Packed:
    """Events of these calls: one per phase (more when large), one for log lines, lifecycle in the order of calls."""
    packed = Packed()
    phases: dict[str, list[Row]] = {}
    lines: list[dict[str, Any]] = []
    events: list[Draft] = []
    for call in calls:
        kind = call[0]
        if kind == "m":
            _, time, epoch, phase, step, metrics = call
            values = _values(metrics, tensor, packed.problems)
            if values:
                if not isinstance(phase, str) or not 0 < len(phase) <= 100 or not phase.isprintable():
                    packed.problems.append(f"report_metrics: phase is {phase!r:.60}, wanted a word such as 'train'")
                    phase = "train"
                row = (time, _whole("epoch", epoch, EPOCH_MAX, packed), _whole("step", step, STEP_MAX, packed), values)
                phases.setdefault(phase, []).append(row)
        elif kind == "l":
            _, time, level, message, source, metadata = call
            lines.append(log_line(time, level, message, source, metadata))
        else:
            _, time, topic, name, data, options = call
            events.append(
                Draft(
                    topic,
                    name,
                    utc_text(time),
                    orjson.dumps(data),
                    bool(options.get("after_uploads")),
                    int(options.get("upload", 0)),
                )
            )
    for phase, rows in phases.items():
        packed.drafts.extend(_metric_drafts(phase, rows, packed.problems))
    packed.drafts.extend(log_drafts(lines))
    packed.drafts.extend(events)
    return packed


def _whole(what: str, value: Any, largest: int, packed: Packed) -> int | None:
    if type(value) is int and -1 <= value <= largest:
        return value if value >= 0 else None
    if isinstance(value, float) and 0 <= value <= largest:
        return int(value)
    packed.problems.append(f"report_metrics: {what} is {value!r:.60}, wanted a whole number from 0 to {largest}")
    return None


def _values(
    metrics: Any, tensor: Callable[[int], float | None], problems: list[str]
) -> dict[str, float | int | str] | None:
    if type(metrics) is not dict:
        problems.append(f"report_metrics: metrics is {metrics!r:.60}, wanted a dict of names and numbers")
        return None
    for name, value in metrics.items():
        if (type(value) is not float and type(value) is not int) or not 0 < len(name) <= 250 or not name.isprintable():
            return _mended(metrics, tensor, problems)
    if not metrics or len(metrics) > NAMES_MAX:
        return _mended(metrics, tensor, problems)
    return metrics


def _mended(
    metrics: Mapping[str, Any], tensor: Callable[[int], float | None], problems: list[str]
) -> dict[str, float | int | str]:
    """The good part of a metric map; each bad part is named."""
    good: dict[str, float | int | str] = {}
    for raw_name, raw in metrics.items():
        name = "".join(character for character in raw_name if character.isprintable())[:NAME_LENGTH_MAX]
        value = raw
        if isinstance(value, dict) and TENSOR in value:
            value = tensor(value[TENSOR])
            if value is None:
                problems.append(f"report_metrics: {name!r} was a tensor on a device and could not be read any more")
                continue
            if value != value or value in (float("inf"), float("-inf")):
                value = "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
        if value is None:
            continue
        if not name or isinstance(value, bool) or not (isinstance(value, (int, float)) or value in NON_FINITE):
            problems.append(f"report_metrics: {raw_name!r:.80} is {value!r:.60}, wanted a number")
            continue
        if len(good) >= NAMES_MAX:
            problems.append(f"report_metrics: more than {NAMES_MAX} metrics in one call; the rest is left out")
            break
        good[name] = value
    return good


def _metric_drafts(phase: str, rows: list[Row], problems: list[str]) -> Iterable[Draft]:
    start = 0
    while start < len(rows):
        names: set[str] = set()
        end = start
        while end < len(rows) and end - start < POINTS_MAX:
            if not names.issuperset(rows[end][3]):
                wider = names.union(rows[end][3])
                if end > start and len(wider) > NAMES_MAX:
                    break
                names = wider
            if end > start and (end - start + 1) * len(names) > CELLS_MAX:
                break
            end += 1
        yield from _column_drafts(phase, rows[start:end], problems)
        start = end


def _column_drafts(phase: str, rows: list[Row], problems: list[str]) -> Iterable[Draft]:
    columns: dict[str, list[float | int | str | None]] = {}
    for index, row in enumerate(rows):
        metrics = row[3]
        for name, value in metrics.items():
            column = columns.get(name)
            if column is None:
                column = columns[name] = [None] * index
            column.append(value)
        if len(metrics) != len(columns):
            for column in columns.values():
                if len(column) == index:
                    column.append(None)
    data = orjson.dumps(
        {
            "phase": phase,
            "steps": [row[2] for row in rows],
            "epochs": [row[1] for row in rows],
            "times": [row[0] for row in rows],
            "values": columns,
        }
    )
    if len(data) <= DATA_BYTES_MAX:
        yield Draft(wire.METRICS, wire.METRICS_REPORTED, utc_text(rows[-1][0]), data)
    elif len(rows) > 1:
        yield from _column_drafts(phase, rows[: len(rows) // 2], problems)
        yield from _column_drafts(phase, rows[len(rows) // 2 :], problems)
    else:
        problems.append(f"report_metrics: one call makes {len(data)} bytes, at most {DATA_BYTES_MAX} fit; left out")


def log_line(time: float, level: Any, message: Any, source: str, metadata: Any) -> dict[str, Any]:
    """One line of a log event. NUL is stripped, progress drawn with carriage returns keeps its last state, and a
    message longer than LINE_LENGTH_MAX characters is cut."""
    text = clean_text(message if isinstance(message, str) else str(message))
    known = level if level in wire.LOG_LEVELS else "INFO"
    line: dict[str, Any] = {"level": known, "message": text, "timestamp": utc_text(time), "source": source}
    if metadata:
        line["metadata"] = metadata
    return line


def clean_text(text: str, length_max: int = LINE_LENGTH_MAX) -> str:
    if "\x00" in text:
        text = text.replace("\x00", "")
    if "\r" in text:
        text = "\n".join(_last_state(line) for line in text.replace("\r\n", "\n").split("\n"))
    if len(text) > length_max:
        text = f"{text[:length_max]} ... [{len(text) - length_max} characters cut]"
    return text


def _last_state(line: str) -> str:
    """What a terminal shows of a line in the end: the text after the last carriage return that has any."""
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


def log_drafts(lines: list[dict[str, Any]]) -> Iterable[Draft]:
    for start in range(0, len(lines), LINES_MAX):
        yield from _line_drafts(lines[start : start + LINES_MAX])


def _line_drafts(lines: list[dict[str, Any]]) -> Iterable[Draft]:
    data = orjson.dumps({"lines": lines})
    if len(data) > DATA_BYTES_MAX and len(lines) > 1:
        yield from _line_drafts(lines[: len(lines) // 2])
        yield from _line_drafts(lines[len(lines) // 2 :])
    else:
        yield Draft(wire.LOGS, wire.LOG_WRITTEN, lines[-1]["timestamp"], data)
