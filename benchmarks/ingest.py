"""Points a second from the first call in the training process until all of them can be queried over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx

from benchmarks.peers.mlflow import ingest_batched, ingest_several
from benchmarks.place import Child, Place
from benchmarks.report import Measurement, spin_s
from benchmarks.workload import FULL, SERIES, Workload

QUERYABLE_TIMEOUT_S = 180.0
POLL_INTERVAL_S = 0.05
RUNS = 8
LAST_SERIES = SERIES[-1:]


def measure(place: Place) -> Iterator[Measurement]:
    one = Workload(20, 500) if place.quick else FULL
    each = Workload(2, 500) if place.quick else Workload(7, 476)
    for count, workload in ((1, one), (RUNS, each)):
        what = f"{count} run{'s' if count > 1 else ''}, {count * workload.points:,} points"
        yield Measurement("ingest", what, "epochlog", *_ours(place, count, workload))
        if place.trackio is not None:
            yield Measurement("ingest", what, "trackio", *_trackio(place, count, workload))
        if place.has_mlflow:
            yield _mlflow(place, what, count)


def ingest_ours(place: Place, jobs: list[int], workload: Workload) -> float:
    """Seconds from the first call to the moment at which every job's points can be queried.

    What is asked for again and again is small: the series that is written last, because a job's points are applied in
    their order. Once it is whole, everything is counted, at the first attempt.
    """
    children = [Child(place, "epochlog", "points", _options(workload), place.sdk_environment(job)) for job in jobs]
    for child in children:
        child.start()
    began = min(float(child.result()["began"]) for child in children)
    with httpx.Client(base_url=place.backend_url, timeout=60) as api:
        _until(lambda: all(total_points(api, job, LAST_SERIES) >= workload.epochs for job in jobs), f"jobs {jobs}")
        ended = time.time()
        counted = [total_points(api, job, SERIES) for job in jobs]
    for child in children:
        child.end()
    if counted != [workload.points] * len(jobs):
        raise RuntimeError(f"wanted {workload.points} points of each job, the API counts {counted}")
    return ended - began


def total_points(api: httpx.Client, job: int, names: tuple[str, ...]) -> int:
    answer = api.get(f"/training/jobs/{job}/metrics/series", params={"names": ",".join(names), "max_points": 16})
    answer.raise_for_status()
    return sum(series["total_points"] for series in answer.json()["series"])


def _ours(place: Place, count: int, workload: Workload) -> tuple[float, str, str, str, float]:
    spin = spin_s()
    jobs = [place.new_job(f"benchmark ingest {number}", workload.epochs) for number in range(count)]
    took_s = ingest_ours(place, jobs, workload)
    return count * workload.points / took_s, "points/s", "higher", "until the API's series count them", spin


def _trackio(place: Place, count: int, workload: Workload) -> tuple[float, str, str, str, float]:
    assert place.trackio is not None
    spin, server = spin_s(), place.trackio
    runs = [f"ingest-{workload.points}-{number}" for number in range(count)]
    children = [Child(place, "trackio", "points", _options(workload), place.peer_environment(run)) for run in runs]
    for child in children:
        child.start()
    began = min(float(child.result()["began"]) for child in children)
    _until(lambda: all(server.rows(run) >= workload.calls for run in runs), f"Trackio's runs {runs}")
    took_s = time.time() - began
    for child in children:
        child.end()
    return count * workload.points / took_s, "points/s", "higher", "through its HTTP server", spin


def _mlflow(place: Place, what: str, runs: int) -> Measurement:
    spin, uri = spin_s(), place.settings.mlflow_tracking_uri
    workload = Workload(4, 500) if place.quick or runs > 1 else Workload(10, 500)
    took_s = ingest_batched(uri, workload)[1] if runs == 1 else ingest_several(uri, runs, workload)
    points = runs * workload.epochs * workload.steps * 6
    note = f"hand-made log_batch, its fastest way; {points:,} points only"
    return Measurement("ingest", what, "mlflow", points / took_s, "points/s", "higher", note, spin)


def _options(workload: Workload) -> dict[str, int]:
    return {"epochs": workload.epochs, "steps": workload.steps}


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + QUERYABLE_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all points of {what} could be queried within {QUERYABLE_TIMEOUT_S:.0f} s")
        time.sleep(POLL_INTERVAL_S)
