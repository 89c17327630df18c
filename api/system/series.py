"""Samples of machines as series: one for each process (rank), quantity and GPU. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy

from api.metrics.downsample import downsample

HOST: Final = ("cpu_percent", "memory_used_bytes", "memory_total_bytes", "process_memory_bytes")
GPU: Final = ("utilization_percent", "memory_used_bytes", "memory_total_bytes", "temperature_celsius", "power_watts")

Key = tuple[int, int, str]
"""Rank, GPU index (-1 for the machine itself), name."""


@dataclass(slots=True)
class Column:
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def series_of(samples: Iterable[Mapping[str, Any]], max_points: int) -> list[dict[str, Any]]:
    """Series in columns, each of at most ``max_points``; what a sample could not measure is no point."""
    columns: dict[Key, Column] = {}
    for sample in samples:
        rank, time, data = sample["rank"], sample["time"], sample["data"]
        for name in HOST:
            _add(columns, (rank, -1, name), time, data.get(name))
        for gpu in data.get("gpus", ()):
            for name in GPU:
                _add(columns, (rank, gpu["index"], f"gpu_{name}"), time, gpu.get(name))
    return [_shown(key, columns[key], max_points) for key in sorted(columns)]


def _add(columns: dict[Key, Column], key: Key, time: float, value: float | None) -> None:
    if value is not None:
        column = columns.setdefault(key, Column())
        column.times.append(time)
        column.values.append(value)


def _shown(key: Key, column: Column, max_points: int) -> dict[str, Any]:
    rank, gpu, name = key
    kept = downsample(numpy.array(column.values, dtype=numpy.float64), max_points).tolist()
    return {
        "name": name,
        "rank": rank,
        "gpu": None if gpu < 0 else gpu,
        "times": [column.times[index] for index in kept],
        "values": [column.values[index] for index in kept],
        "total_points": len(column.values),
        "sampled": len(kept) < len(column.values),
    }


def latest_of(samples: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last sample of each rank."""
    last = {sample["rank"]: sample for sample in samples}
    return [last[rank] for rank in sorted(last)]
