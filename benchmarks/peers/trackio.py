"""Trackio with its own HTTP server (``python -m benchmarks.peers.trackio PORT`` is that server)."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.reporters import Metrics, Reporter

PROJECT: Final = "benchmark"
START_TIMEOUT_S: Final = 90.0
OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def open_run() -> Reporter:
    """A run on the server that the environment names (TRACKIO_SERVER_URL, TRACKIO_WRITE_TOKEN)."""
    import trackio

    run = trackio.init(
        PROJECT,
        name=os.environ["BENCHMARK_RUN"],
        server_url=os.environ["TRACKIO_SERVER_URL"],
        auto_log_gpu=False,
        auto_log_cpu=False,
    )

    def log(epoch: int, step: int | None, phase: str, metrics: Metrics) -> None:
        # Trackio has one step counter a run; a report of an epoch goes to the step that the run is at.
        run.log({f"{phase}/{name}": value for name, value in metrics.items()}, step=step)

    return Reporter(log, trackio.finish)


class TrackioServer:
    """A running server: asks what it holds."""

    def __init__(self, port: int, token: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token
        self._client = httpx.Client(base_url=self.url, timeout=120)

    def environment(self, run: str, folder: Path) -> dict[str, str]:
        return {
            **OFFLINE,
            "TRACKIO_SERVER_URL": self.url,
            "TRACKIO_WRITE_TOKEN": self.token,
            # Where the client would spill while the server is away.
            "TRACKIO_DIR": str(folder / "trackio-client"),
            "BENCHMARK_RUN": run,
        }

    def ask(self, name: str, **arguments: Any) -> Any:
        answer = self._client.post(f"/api/{name}", json={"args": [], "kwargs": arguments})
        answer.raise_for_status()
        body = answer.json()
        if body.get("error") is not None:
            raise RuntimeError(f"Trackio {name}: {body['error']}")
        return body.get("data")

    def rows(self, run: str) -> int:
        """Calls of a run that can be queried."""
        count: int = self.ask("get_run_summary", project=PROJECT, run=run)["num_logs"]
        return count

    def series(self, run: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("get_metric_values", project=PROJECT, run=run, metric_name=name)
        return found


@contextmanager
def trackio_server(folder: Path, port: int) -> Iterator[TrackioServer]:
    """Raises TimeoutError when it does not answer in time; its output is in ``folder/trackio.log``."""
    token = secrets.token_hex(8)
    log = folder / "trackio.log"
    environment = {**os.environ, **OFFLINE, "TRACKIO_DIR": str(folder / "trackio"), "TRACKIO_WRITE_TOKEN": token}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.trackio", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/version", timeout=2).is_success:
                    break
            except httpx.HTTPError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"Trackio's server did not start; see {log}") from error
            time.sleep(0.2)
        yield TrackioServer(port, token)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    import trackio

    trackio.show(host="127.0.0.1", server_port=int(sys.argv[1]), open_browser=False, block_thread=True, share=False)


if __name__ == "__main__":
    main()
