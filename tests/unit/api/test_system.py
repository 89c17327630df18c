from __future__ import annotations

from typing import Any

from api.system.series import latest_of, series_of


def sample(time: float, rank: int = 0, **data: Any) -> dict[str, Any]:
    return {"rank": rank, "attempt": 1, "time": time, "data": data}


SAMPLES = [
    sample(1.0, cpu_percent=10.0, gpus=[{"index": 1, "utilization_percent": 90.0}, {"index": 0}]),
    sample(2.0, rank=1, cpu_percent=99.0),
    sample(3.0, cpu_percent=30.0, memory_used_bytes=7),
]


def test_ranks_and_gpus_are_told_apart_and_what_was_not_measured_is_no_point() -> None:
    found = {(one["rank"], one["gpu"], one["name"]): (one["times"], one["values"]) for one in series_of(SAMPLES, 5)}
    assert found == {
        (0, None, "cpu_percent"): ([1.0, 3.0], [10.0, 30.0]),
        (0, None, "memory_used_bytes"): ([3.0], [7]),
        (0, 1, "gpu_utilization_percent"): ([1.0], [90.0]),
        (1, None, "cpu_percent"): ([2.0], [99.0]),
    }
    assert [(one["rank"], one["time"]) for one in latest_of(SAMPLES)] == [(0, 3.0), (1, 2.0)]


def test_a_long_series_keeps_its_spike_and_says_that_it_is_sampled() -> None:
    many = [sample(float(second), cpu_percent=99.0 if second == 777 else 1.0) for second in range(1_000)]
    (series,) = series_of(many, 20)
    assert len(series["values"]) <= 20 and 99.0 in series["values"]
    assert (series["total_points"], series["sampled"]) == (1_000, True)
    assert (series["times"][0], series["times"][-1]) == (0.0, 999.0)
