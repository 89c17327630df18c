"""Reading whole series over HTTP: one of 50,000 points, and 14 with 300,800 points. Median, answer parsed as JSON."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import httpx
import orjson

from benchmarks.ingest import ingest_ours
from benchmarks.peers.mlflow import ingest_batched, read_series
from benchmarks.place import Child, Place
from benchmarks.report import Measurement, spin_s
from benchmarks.workload import FULL, SERIES, TRAIN_NAMES, Workload

ARROW = "application/vnd.apache.arrow.stream"


def measure(place: Place) -> Iterator[Measurement]:
    workload = Workload(20, 500) if place.quick else FULL
    repeats = 3 if place.quick else 7
    one = f"one series, {workload.epochs * workload.steps:,} points"
    every = f"{len(SERIES)} series, {workload.points:,} points"
    spin = spin_s()
    job = place.new_job("benchmark read", workload.epochs)
    ingest_ours(place, [job], workload)
    with httpx.Client(base_url=place.backend_url, timeout=60) as api:
        for what, names in ((one, SERIES[:1]), (every, SERIES)):
            wanted = workload.points if names == SERIES else workload.epochs * workload.steps

            def ours(names: tuple[str, ...] = names, wanted: int = wanted) -> None:
                answer = api.get(f"/training/jobs/{job}/metrics/series", params={"names": ",".join(names)})
                answer.raise_for_status()
                _expect(sum(len(series["values"]) for series in orjson.loads(answer.content)["series"]), wanted)

            def ours_arrow(names: tuple[str, ...] = names) -> None:
                url = f"/training/jobs/{job}/metrics/series"
                api.get(url, params={"names": ",".join(names)}, headers={"Accept": ARROW}).raise_for_status()

            yield Measurement("read", what, "epochlog", _median_ms(ours, repeats), "ms", spin_s=spin)
            yield Measurement(
                "read", f"{what}, as Arrow", "epochlog", _median_ms(ours_arrow, repeats), "ms", spin_s=spin
            )
    if place.trackio is not None:
        yield from _trackio(place, workload, one, every)
    if place.has_mlflow:
        yield from _mlflow(place, workload, one, every)


def _trackio(place: Place, workload: Workload, one: str, every: str) -> Iterator[Measurement]:
    assert place.trackio is not None
    spin, server, run = spin_s(), place.trackio, "read"
    options = {"epochs": workload.epochs, "steps": workload.steps}
    child = Child(place, "trackio", "points", options, place.peer_environment(run))
    child.start()
    child.result()
    child.end()
    deadline = time.monotonic() + 120
    while server.rows(run) < workload.calls:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Trackio holds {server.rows(run)} of {workload.calls} calls after 120 s")
        time.sleep(0.2)

    def single() -> None:
        _expect(len(server.series(run, SERIES[0])), workload.epochs * workload.steps)

    def all_series() -> None:
        _expect(sum(len(server.series(run, name)) for name in SERIES), workload.points)

    yield Measurement("read", one, "trackio", _median_ms(single, 3), "ms", spin_s=spin)
    yield Measurement("read", every, "trackio", _median_ms(all_series, 1), "ms", note="a request a series", spin_s=spin)


def _mlflow(place: Place, workload: Workload, one: str, every: str) -> Iterator[Measurement]:
    spin = spin_s()
    uri = place.settings.mlflow_tracking_uri
    run_id, _ = ingest_batched(uri, workload)
    steps = workload.epochs * workload.steps

    def single() -> None:
        _expect(read_series(uri, run_id, SERIES[0]), steps)

    def all_series() -> None:
        _expect(sum(read_series(uri, run_id, f"train/{name}") for name in TRAIN_NAMES), steps * len(TRAIN_NAMES))

    yield Measurement("read", one, "mlflow", _median_ms(single, 3), "ms", note="page by page", spin_s=spin)
    note = f"page by page, the {len(TRAIN_NAMES)} training series only"
    yield Measurement("read", every, "mlflow", _median_ms(all_series, 1), "ms", note=note, spin_s=spin)


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"{found} points were read, {wanted} were written")


def _median_ms(read: Callable[[], None], repeats: int) -> float:
    read()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        read()
        took.append((time.perf_counter() - began) * 1_000)
    return statistics.median(took)
