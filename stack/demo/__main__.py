"""``python -m stack.demo``: services, data set, training, table. Exit code 0 only if everything in the table holds.

Services that were up before are used and stay up. Those that the demo started are stopped when it ends, however it
ends; what they stored stays, and ``make up`` shows it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import asyncpg
import httpx
from minio.error import MinioException
from rich.console import Console
from urllib3.exceptions import HTTPError as StoreUnreachable

from stack.control import NotReady, down, up
from stack.demo.digits import DigitsDataset, make_dataset
from stack.demo.display import Display
from stack.demo.evidence import gather
from stack.demo.follow import Followed, FollowFailed, follow
from stack.demo.store import dataset_uri, open_store, upload_dataset
from stack.demo.verdict import judge, print_table
from stack.keeper import read_state
from stack.ports import PortTaken
from stack.settings import InvalidSetting, Settings

EPOCHS: Final = 40
FOLLOW_TIMEOUT_S: Final = 1_500.0
INTERRUPTED: Final = 130
"""The shell's exit code for Ctrl-C."""
PLAIN_WIDTH: Final = 140
KEEPER_START_TIMEOUT_S: Final = 10.0
API_TIMEOUT_S: Final = 30.0
DATASET_TIMEOUT_S: Final = 120.0
"""Registering opens every picture."""

JOB: Final[dict[str, Any]] = {
    # The body of section 12.2 of the training pipeline design; the parameters that let 200 pictures teach something.
    "model_name": "yolo11n",
    "framework": "ultralytics",
    "task_type": "detection",
    "config": {"imgsz": 160, "epochs": EPOCHS, "batch": 16, "lr0": 0.003, "optimizer": "AdamW", "workers": 0},
    "advanced_config": {"warmup_epochs": 1, "mosaic": 0.0, "fliplr": 0.0},
    "name": "E2E Test Training",
    "description": "Handwritten digits, from the architecture file, on this machine's CPU",
}


class DemoFailed(RuntimeError):
    """A step failed; the message says what to do or which log to read."""


@contextlib.contextmanager
def step(console: Console, title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    console.print(f"[bold]{title}[/]", highlight=False)
    began = time.monotonic()
    yield
    console.print(f"  done in {time.monotonic() - began:.1f} s", style="dim", highlight=False)


def main() -> int:
    # A log file is not folded at 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    # Whoever ends us politely gets the same tidying up as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = Settings.from_env()
    except InvalidSetting as error:
        console.print(str(error), markup=False)
        return 1
    was_up = read_state(settings) is not None
    stop_at_end = not was_up
    began, code = time.monotonic(), 1
    try:
        code = _run(console, settings, was_up)
    except PortTaken as error:
        # Nothing was started.
        stop_at_end = False
        console.print(f"{error}", markup=False, style="red")
    except KeyboardInterrupt:
        console.print("\ninterrupted", style="red")
        code = INTERRUPTED
    except (DemoFailed, NotReady, FollowFailed, ValueError) as error:
        console.print(f"{error}", markup=False, style="red")
    except (httpx.HTTPError, OSError, asyncpg.PostgresError, MinioException, StoreUnreachable) as error:
        message = f"{type(error).__name__}: {error}; logs: {settings.log_dir}"
        console.print(message, markup=False, style="red")
    finally:
        if stop_at_end:
            with step(console, "Stopping the services that were started"):
                _stop(settings)
    console.print(
        f"[bold]{'Everything holds' if code == 0 else 'It did not work'}[/] ({time.monotonic() - began:.0f} s)."
    )
    if code == 0 and not was_up:
        console.print("What was stored stays: `make up` shows it again, `make clean-data` removes it.")
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stop(settings: Settings) -> None:
    """Stop the keeper, also one that has been started but has not written its state yet."""
    deadline = time.monotonic() + KEEPER_START_TIMEOUT_S
    while not down(settings) and time.monotonic() < deadline:
        time.sleep(0.2)


def _run(console: Console, settings: Settings, was_up: bool) -> int:
    title = "1/5 The services are up, they are used" if was_up else "1/5 Starting the services"
    with step(console, f"{title} (logs: {settings.log_dir})"):
        up(settings, [], say=lambda line: console.print(f"  {line}", highlight=False))
    with step(console, "2/5 Making the data set: scenes of handwritten digits in DICE format"):
        dataset = make_dataset(settings.data_dir / "demo" / "digits")
        console.print(f"  {dataset.splits} images, {dataset.bytes / 1e6:.1f} MB in {dataset.folder}", highlight=False)
    return asyncio.run(_train(console, settings, dataset, stays_up=was_up))


async def _train(console: Console, settings: Settings, dataset: DigitsDataset, *, stays_up: bool) -> int:
    async with httpx.AsyncClient(base_url=f"{settings.backend_url}/", timeout=API_TIMEOUT_S) as api:
        with step(console, "3/5 Uploading and registering it"):
            dataset_id = await _register(console, settings, api, dataset)
        with step(console, f"4/5 Training yolo11n for {EPOCHS} epochs"):
            job = await _post(api, "training/jobs", {**JOB, "dataset_id": dataset_id})
            job_id: int = job["id"]
            console.print(f"  job {job_id}: {settings.backend_url}/training/jobs/{job_id}", highlight=False)
            ended = False
            try:
                with Display(console) as display:
                    followed = await follow(settings.backend_url, api, job_id, display.show, timeout_s=FOLLOW_TIMEOUT_S)
                ended = True
            finally:
                if stays_up and not ended:
                    await _stop_job(console, settings, job_id)
        with step(console, "5/5 Asking Kafka, Postgres, S3, MLflow and the API what they hold"):
            evidence = await gather(settings, api, job_id, EPOCHS, followed.latencies_s)
            rows = judge(evidence)
    print_table(console, rows)
    _print_frames(console, followed)
    logs = {row.log for row in rows if not row.holds}
    for name in sorted(logs):
        failed = ", ".join(row.name for row in rows if row.log == name and not row.holds)
        console.print(f"{failed}: read {_log_of(settings, name, job_id)}", markup=False, style="red")
    return 1 if logs else 0


async def _register(console: Console, settings: Settings, api: httpx.AsyncClient, dataset: DigitsDataset) -> int:
    """The id of the data set with this content, registered now unless it was before."""
    bucket = settings.inherited.get("EPOCHLOG_DATASETS_BUCKET", "training-datasets")
    uri = dataset_uri(bucket, dataset)
    answer = await api.get("datasets", params={"search": dataset.name, "limit": 100})
    answer.raise_for_status()
    for known in answer.json()["datasets"]:
        if known["storage_path"] == uri:
            console.print(f"  registered before: data set {known['id']} at {uri}", highlight=False)
            return int(known["id"])
    uploaded = await asyncio.to_thread(upload_dataset, open_store(settings), uri, dataset)
    console.print(f"  {uri} {'uploaded' if uploaded else 'was there'} ({dataset.files} files)", highlight=False)
    body = {"name": dataset.name, "s3_uri": uri, "description": "Scenes of two to four handwritten digits"}
    registered = await _post(api, "datasets", body, timeout_s=DATASET_TIMEOUT_S)
    console.print(f"  data set {registered['id']}: {registered['splits']}", highlight=False)
    return int(registered["id"])


async def _post(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], *, timeout_s: float = API_TIMEOUT_S
) -> dict[str, Any]:
    """Raises DemoFailed with the API's own reason when it does not answer 2xx."""
    answer = await api.post(path, json=body, timeout=timeout_s)
    if not answer.is_success:
        raise DemoFailed(f"POST {path} was answered {answer.status_code}: {answer.text[:2_000]}")
    found: dict[str, Any] = answer.json()
    return found


async def _stop_job(console: Console, settings: Settings, job_id: int) -> None:
    """The services stay, but what the demo started in them ends with it. A client of its own: ours may be cancelled."""
    try:
        async with httpx.AsyncClient(timeout=API_TIMEOUT_S) as api:
            answer = await api.post(f"{settings.backend_url}/training/jobs/{job_id}/stop", json={})
        console.print(f"  asked job {job_id} to stop: {answer.status_code}", highlight=False)
    except httpx.HTTPError as error:
        console.print(f"  job {job_id} could not be asked to stop: {error}", markup=False)


def _print_frames(console: Console, followed: Followed) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(followed.frames.items()))
    console.print(f"Seen live: {counts}; {followed.reconnects} reconnects, {followed.gaps} gaps.", highlight=False)


def _log_of(settings: Settings, name: str, job_id: int) -> Path:
    """The log that explains a failed row: of the trainer what its last attempt printed, errors first."""
    if name != "trainer":
        return settings.log_dir / f"{name}.log"
    for attempt in sorted((settings.data_dir / "runs" / f"job-{job_id}").glob("attempt-*"), reverse=True):
        for log in (attempt / "stderr.log", attempt / "stdout.log"):
            if log.exists() and log.stat().st_size:
                return log
    return settings.log_dir / "launcher.log"


if __name__ == "__main__":
    sys.exit(main())
