"""The training process of a benchmark: ``python -m benchmarks.child SYSTEM TASK JSON``. Prints JSON lines.

A process of its own, so that nothing but the client runs beside the calls. ``ready`` is printed when everything is
imported and connected; the task starts when a line comes in, and the process ends at the next one: its tidying up must
not compete with what is still being measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

from benchmarks.report import percentile
from benchmarks.reporters import OPEN, Reporter
from benchmarks.workload import Workload, train_metrics, val_metrics

WARM_UP_CALLS: Final = 200
BEAT: Final = "called"
"""Name of the metric that holds the time of its own call."""


def say(**content: Any) -> None:
    print(json.dumps(content), flush=True)


def main() -> None:
    system, task, text = sys.argv[1:4]
    options = json.loads(text)
    reporter = OPEN[system]()
    if task == "calls":
        # The first calls open files and threads; the client's steady state is what is measured.
        for step in range(WARM_UP_CALLS if system != "mlflow" else 5):
            reporter.log(1, step, "train", train_metrics(step))
    say(ready=True)
    sys.stdin.readline()
    {"calls": _calls, "points": _points, "beats": _beats}[task](reporter, options)
    sys.stdin.readline()


def _calls(reporter: Reporter, options: dict[str, Any]) -> None:
    """Time each call alone, in microseconds; ``rate`` calls a second, or one after the other for 0."""
    count, rate = int(options["calls"]), float(options["rate"])
    metrics = [train_metrics(step) for step in range(512)]
    took: list[int] = []
    log, clock = reporter.log, time.perf_counter_ns
    began = time.monotonic()
    for number in range(count):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        values, step = metrics[number % 512], WARM_UP_CALLS + number
        start = clock()
        log(1, step, "train", values)
        took.append(clock() - start)
    microseconds = [one / 1_000 for one in took]
    say(p50=percentile(microseconds, 0.5), p99=percentile(microseconds, 0.99), worst=max(microseconds))
    if options.get("abandon"):
        # The server is away on purpose; a polite close would only wait for it.
        sys.stdout.flush()
        os._exit(0)
    reporter.close()


def _points(reporter: Reporter, options: dict[str, Any]) -> None:
    """The whole workload as fast as the client takes it."""
    workload = Workload(options["epochs"], options["steps"])
    train = [train_metrics(step) for step in range(512)]
    validation = [val_metrics(epoch) for epoch in range(1, workload.epochs + 1)]
    began, step = time.time(), 0
    for epoch in range(1, workload.epochs + 1):
        for _ in range(workload.steps):
            step += 1
            reporter.log(epoch, step, "train", train[step % 512])
        reporter.log(epoch, None, "val", validation[epoch - 1])
    logged = time.time()
    reporter.close()
    say(began=began, logged=logged, closed=time.time())


def _beats(reporter: Reporter, options: dict[str, Any]) -> None:
    """One report now and then, whose value is the time at which it was made."""
    for step in range(1, int(options["count"]) + 1):
        reporter.log(1, step, "train", {BEAT: time.time()})
        time.sleep(float(options["interval_s"]))
    reporter.close()
    say(done=True)


if __name__ == "__main__":
    main()
