"""What a report of six metrics costs the training thread, in microseconds: flat out and paced, server up and away."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.place import Child, Place, free_port
from benchmarks.report import Measurement, spin_s

PACED_CALLS_PER_S = 200


def measure(place: Place) -> Iterator[Measurement]:
    flat, paced_s = (5_000, 3) if place.quick else (50_000, 20)
    plans = [("flat out", flat, 0), ("paced 200/s", PACED_CALLS_PER_S * paced_s, PACED_CALLS_PER_S)]
    for pace, calls, rate in plans:
        job = place.new_job(f"benchmark call {pace}", 1_000)
        yield from _one(place, "epochlog", pace, calls, rate, place.sdk_environment(job))
        if place.trackio is not None:
            run = f"call-{rate}-{calls}"
            yield from _one(place, "trackio", pace, calls, rate, place.peer_environment(run))
        if place.has_mlflow:
            # It falls behind at any higher count: one request a call.
            fewer = calls if rate else min(calls, 1_000 if place.quick else 3_000)
            fewer = min(fewer, 600) if rate else fewer
            run = f"mlflow-call-{rate}-{calls}"
            yield from _one(place, "mlflow", pace, fewer, rate, place.peer_environment(run))
    for pace, calls, rate in plans:
        job = place.new_job(f"benchmark call {pace}, broker away", 1_000)
        nobody = f"127.0.0.1:{free_port()}"
        environment = place.sdk_environment(
            job, KAFKA_BOOTSTRAP_SERVERS=nobody, EPOCHLOG_SPOOL_DIR=str(place.folder / "away")
        )
        yield from _one(place, "epochlog", f"{pace}, broker away", calls, rate, environment, abandon=True)


def _one(
    place: Place, system: str, pace: str, calls: int, rate: int, environment: dict[str, str], *, abandon: bool = False
) -> Iterator[Measurement]:
    spin = spin_s()
    child = Child(place, system, "calls", {"calls": calls, "rate": rate, "abandon": abandon}, environment)
    child.start()
    found = child.result()
    child.end()
    note = "log_metrics(synchronous=False)" if system == "mlflow" else ""
    for what in ("p50", "p99", "worst"):
        yield Measurement("sdk_call", f"{pace}, {what}", system, found[what], "us", note=note, spin_s=spin)
