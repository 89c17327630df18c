"""Where the measurements run: a stack of their own on free ports, or the one that BACKEND_URL names."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.peers.trackio import TrackioServer, trackio_server
from stack.control import down, up
from stack.demo.digits import make_dataset
from stack.demo.store import dataset_uri, open_store, upload_dataset
from stack.settings import PORT_SETTINGS, Settings

ADDRESSES: Final = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "S3_ENDPOINT", "MLFLOW_TRACKING_URI", "BACKEND_URL")
LAUNCHERLESS: Final = ("kafka", "postgres", "s3", "api", "projections-core")
CHILD_TIMEOUT_S: Final = 60.0


def free_port(below: int = 50_000) -> int:
    """A free port; SeaweedFS adds 10,000 to its own, so those must stay below 55,536."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < below:
            return port


@dataclass(slots=True)
class Place:
    """Addresses, a data set that jobs can name, and a folder for what clients write."""

    settings: Settings
    backend_url: str
    folder: Path
    own_stack: bool
    quick: bool
    trackio: TrackioServer | None
    has_mlflow: bool
    dataset_id: int = 0

    def new_job(self, name: str, epochs: int) -> int:
        """A job that no launcher starts: the benchmark's process is its trainer."""
        body = {
            "model_name": "yolo11n",
            "task_type": "detection",
            "dataset_id": self.dataset_id,
            "config": {"epochs": epochs},
            "name": name,
            "launch": False,
        }
        answer = httpx.post(f"{self.backend_url}/training/jobs", json=body, timeout=30)
        answer.raise_for_status()
        job_id: int = answer.json()["id"]
        return job_id

    def sdk_environment(self, job_id: int, **changed: str) -> dict[str, str]:
        return {
            **self.settings.client_environment(),
            "EPOCHLOG_TOPIC_PREFIX": self.settings.inherited.get("EPOCHLOG_TOPIC_PREFIX", ""),
            "BACKEND_URL": self.backend_url,
            "JOB_ID": str(job_id),
            "EPOCHLOG_SPOOL_DIR": str(self.folder / "spool"),
            "EPOCHLOG_DATA_DIR": str(self.folder),
            **changed,
        }

    def peer_environment(self, run: str) -> dict[str, str]:
        extra = {"MLFLOW_TRACKING_URI": self.settings.mlflow_tracking_uri, "BENCHMARK_RUN": run}
        extra["MLFLOW_DISABLE_TELEMETRY"] = "true"
        return extra if self.trackio is None else {**extra, **self.trackio.environment(run, self.folder)}


class Child:
    """A training process, connected and waiting for ``start``."""

    def __init__(
        self, place: Place, system: str, task: str, options: Mapping[str, Any], environment: Mapping[str, str]
    ):
        self._log = place.folder / f"child-{system}-{uuid.uuid4().hex[:6]}.log"
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", system, task, json.dumps(options)],
                env={**os.environ, **environment, "DO_NOT_TRACK": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._answer()

    def start(self) -> None:
        self._say("go")

    def result(self) -> dict[str, Any]:
        """What it measured; it stays until ``end``. Raises RuntimeError when it failed."""
        return self._answer()

    def end(self) -> None:
        """Raises TimeoutExpired when it does not."""
        # One that abandons its server has ended by itself.
        with suppress(BrokenPipeError):
            self._say("end")
        self._process.wait(CHILD_TIMEOUT_S)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        """Its next JSON line; clients also print lines of their own."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"the benchmark's process ended early; see {self._log}: {self._log.read_text()[-2_000:]}")


@contextmanager
def a_place(*, quick: bool, peers: bool) -> Iterator[Place]:
    """The stack that BACKEND_URL names, else one of its own that ends with the measurements."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epochlog-benchmarks-", dir="/var/tmp")))
        # Postgres runs under another user when we are root: it must be able to walk in.
        folder.chmod(0o755)
        given = os.environ.get("BACKEND_URL")
        if given:
            settings = Settings.from_env()
            has_mlflow = peers and "MLFLOW_TRACKING_URI" in os.environ
        else:
            settings = stack.enter_context(
                _own_stack(folder / "stack", [*LAUNCHERLESS, *(["mlflow"] if peers else [])])
            )
            has_mlflow = peers
        trackio = stack.enter_context(trackio_server(folder, free_port())) if peers else None
        backend_url = given or settings.backend_url
        place = Place(settings, backend_url, folder, given is None, quick, trackio, has_mlflow)
        place.dataset_id = _dataset(place)
        yield place


@contextmanager
def _own_stack(folder: Path, names: list[str]) -> Iterator[Settings]:
    ports = {variable: str(free_port()) for variable, _ in PORT_SETTINGS.values()}
    kept = {name: value for name, value in os.environ.items() if name not in ADDRESSES and not name.startswith("EPOCH")}
    settings = Settings.from_env({**kept, **ports, "EPOCHLOG_DATA_DIR": str(folder)})
    try:
        up(settings, names)
        yield settings
    finally:
        down(settings)


def _dataset(place: Place) -> int:
    """Jobs must name a registered data set: a tiny one."""
    dataset = make_dataset(place.folder / "dataset", name="benchmark-digits", train=4, val=2, test=1)
    uri = dataset_uri("training-datasets", dataset)
    upload_dataset(open_store(place.settings), uri, dataset)
    body = {"name": dataset.name, "s3_uri": uri}
    answer = httpx.post(f"{place.backend_url}/datasets", json=body, timeout=60)
    answer.raise_for_status()
    dataset_id: int = answer.json()["id"]
    return dataset_id
