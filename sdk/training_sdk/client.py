"""What a training script calls."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import sys
import threading
import time as clock
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from training_sdk import encoding, wire
from training_sdk.delivery.packer import LINE_LENGTH_MAX, clean_text
from training_sdk.delivery.ring import LIFECYCLE, LOG, METRIC
from training_sdk.delivery.sender import Sender
from training_sdk.delivery.session import Session
from training_sdk.delivery.transport import Transport, TransportError
from training_sdk.opening import choose_transport, configured_epochs, create_session
from training_sdk.secrets import Secrets
from training_sdk.settings import RunSettings, SettingsError, load_config
from training_sdk.stop import StopRequest
from training_sdk.storage.datasets import download_dataset
from training_sdk.storage.kinds import Place, artifact_upload, checkpoint_upload
from training_sdk.storage.resume import fetch_resume_checkpoint
from training_sdk.storage.s3 import open_store
from training_sdk.storage.uploads import Upload, UploadQueue

CLOSE_TIMEOUT_S: Final = 10.0

logger = logging.getLogger("training_sdk")


class TrainerSDK:
    """Reports of one training process.

    No reporting method raises, and none waits for a disk, a network or a GPU: a call is written into memory that
    outlives the process, and a thread sends it. Wrong arguments are named in one warning and in the run's log.
    Only downloads wait. Use it as a context manager, or call ``close()``; leaving the process does that as well.
    """

    def __init__(self, settings: RunSettings | None = None, *, transport: Transport | None = None) -> None:
        """``transport`` replaces the one that the settings ask for. Nothing is opened before the first report."""
        self.settings = settings if settings is not None else RunSettings.from_env()
        self._transport = transport
        self._session: Session | None = None
        self._sender: Sender | None = None
        self._uploads: UploadQueue | None = None
        self._stop = StopRequest()
        self._tensors = encoding.Tensors()
        self._secrets = Secrets(self.settings.environment)
        self._opening = threading.Lock()
        self._state = "new"
        self._started = False
        self._best_uri: str | None = None
        self._last_uri: str | None = None
        self._warned: set[str] = set()
        _CLIENTS.add(self)

    @classmethod
    def from_env(cls) -> TrainerSDK:
        """The SDK of this run as its environment describes it, with its sending thread at work."""
        sdk = cls(RunSettings.from_env())
        sdk.start()
        return sdk

    def start(self) -> None:
        """Open the session. Done by the first report where nobody called it."""
        if self._state == "new":
            with self._opening:
                if self._state == "new":
                    self._state = self._open()

    # Configuration

    @property
    def job_id(self) -> int | None:
        return self.settings.job_id

    @property
    def attempt(self) -> int:
        return self.settings.attempt

    @property
    def model_name(self) -> str | None:
        return self.settings.model_name

    @property
    def task_type(self) -> str | None:
        return self.settings.task_type

    @property
    def framework(self) -> str | None:
        return self.settings.framework

    @property
    def dataset_id(self) -> int:
        """The data set's number. Raises SettingsError without DATASET_ID."""
        if self.settings.dataset_id is None:
            raise SettingsError("DATASET_ID is not set; it is the data set's number, e.g. 42")
        return self.settings.dataset_id

    def get_basic_config(self) -> dict[str, Any]:
        """imgsz, epochs, batch, lr0, optimizer, augment (spec 4.8), with its defaults. Raises SettingsError."""
        return self.settings.basic_config()

    def get_advanced_config(self) -> dict[str, Any]:
        """The trainer's own settings, {} without any. Raises SettingsError."""
        return self.settings.advanced_config()

    def get_full_config(self) -> dict[str, Any]:
        """{"basic": ..., "advanced": ...}. Raises SettingsError."""
        return {"basic": self.get_basic_config(), "advanced": self.get_advanced_config()}

    def load_config_from_file(self, path: str) -> dict[str, Any]:
        """The JSON object in a config file. Raises SettingsError."""
        return load_config(path)

    # Reports

    def report_metrics(self, epoch: int | None, phase: str, metrics: dict[str, Any], step: int | None = None) -> None:
        """One row of metrics; ``step`` None: for the epoch as a whole.

        Values are numbers (NumPy's and torch's too; a tensor on a GPU is read later, by the sending thread).
        """
        try:
            payload = encoding.metrics_call(epoch, phase, metrics, step, self._tensors)
            session = self._session
            if session is not None and self._reporting:
                session.post(payload, METRIC)
            else:
                self._post(payload, METRIC)
        except Exception as error:
            self._complain(f"report_metrics: {error}")

    def report_started(self, gpu_info: dict[str, Any] | list[dict[str, Any]] | None = None, **details: Any) -> None:
        """The training begins. ``details``: total_epochs, mlflow_run_id."""
        with self._no_raise("report_started"):
            self._started = True
            self._event(
                wire.JOB_STARTED,
                {
                    "pid": os.getpid(),
                    "hostname": socket.gethostname(),
                    "gpu_info": encoding.plain(gpu_info) if isinstance(gpu_info, (dict, list)) else None,
                    "total_epochs": encoding.count(details.get("total_epochs")) or configured_epochs(self.settings),
                    "mlflow_run_id": details.get("mlflow_run_id"),
                },
            )

    def report_progress(self, epoch: int, total: int, phase: str = "train", eta_seconds: float | None = None) -> None:
        """Epoch ``epoch`` of ``total`` (from 1) goes on."""
        with self._no_raise("report_progress"):
            done, of = encoding.count(epoch), encoding.count(total)
            if done is None or of is None:
                raise ValueError(f"epoch is {epoch!r:.60} and total is {total!r:.60}, wanted whole numbers")
            data = {"epoch": done, "total_epochs": of, "phase": str(phase)[:100], "eta_seconds": None}
            data["eta_seconds"] = encoding.seconds(eta_seconds)
            self._event(wire.PROGRESS_REPORTED, data)

    def report_completed(
        self,
        results: dict[str, Any] | None = None,
        best_checkpoint_path: str | None = None,
        final_checkpoint_path: str | None = None,
    ) -> None:
        """The training ended well. ``results`` is the spec's training_results object (or the body around it).

        The event goes out after the announcements of checkpoints that are still on their way up.
        """
        with self._no_raise("report_completed"):
            body = dict(results or {})
            inner = body.get("training_results", body)
            self._event(
                wire.JOB_COMPLETED,
                {
                    "training_results": encoding.training_results(inner, self._complain) or {},
                    "best_checkpoint_path": best_checkpoint_path or body.get("best_checkpoint_path") or self._best_uri,
                    "final_checkpoint_path": final_checkpoint_path
                    or body.get("final_checkpoint_path")
                    or self._last_uri,
                },
                after_uploads=True,
            )
            self.flush_logs()

    def report_failed(self, error_code: str, message: str, last_successful_epoch: int | None = None) -> None:
        """The training failed; ``error_code`` is one of the spec's (OOM, INVALID_CONFIG, ...), else UNKNOWN."""
        with self._no_raise("report_failed"):
            code = error_code if error_code in wire.ERROR_CODES else "UNKNOWN"
            if code != error_code:
                self._complain(f"report_failed: error code {error_code!r:.60} is not known; UNKNOWN is sent")
            self._event(
                wire.JOB_FAILED,
                {
                    "error_code": code,
                    "error_message": clean_text(self._secrets.masked(str(message))),
                    "last_successful_epoch": encoding.count(last_successful_epoch),
                },
                after_uploads=True,
            )
            self.flush_logs()

    def callback_failed(self, message: str) -> None:
        """As report_failed: a wrong config before the start, else an unknown cause (spec 4.10)."""
        self.report_failed("UNKNOWN" if self._started else "INVALID_CONFIG", message)

    def report_stopped(
        self,
        stopped_at_epoch: int | None = None,
        best_checkpoint_path: str | None = None,
        final_checkpoint_path: str | None = None,
        training_results: dict[str, Any] | None = None,
    ) -> None:
        """The training ended early because somebody asked for it."""
        with self._no_raise("report_stopped"):
            self._event(
                wire.JOB_STOPPED,
                {
                    "stopped_at_epoch": encoding.count(stopped_at_epoch),
                    "best_checkpoint_path": best_checkpoint_path or self._best_uri,
                    "final_checkpoint_path": final_checkpoint_path or self._last_uri,
                    "training_results": encoding.training_results(training_results, self._complain),
                },
                after_uploads=True,
            )
            self.flush_logs()

    # Log lines

    def log(self, message: str, level: str = "INFO", **metadata: Any) -> None:
        """One log line; ``log(level, message)`` is understood too: the argument that is a level's name is the level."""
        try:
            if level not in wire.LOG_LEVELS and message in wire.LOG_LEVELS:
                message, level = level, message
            elif level not in wire.LOG_LEVELS:
                self._complain(f"log: level {level!r:.60} is not one of {', '.join(wire.LOG_LEVELS)}; INFO is taken")
                level = "INFO"
            text, details = self._secrets.masked(str(message)), self._secrets.masked_all(metadata)
            self._post(encoding.log_call(text, level, "trainer", details, LINE_LENGTH_MAX), LOG)
            if level == "ERROR":
                self.flush_logs()
        except Exception as error:
            self._complain(f"log: {error}")

    def log_debug(self, message: str, **metadata: Any) -> None:
        self.log(message, "DEBUG", **metadata)

    def log_info(self, message: str, **metadata: Any) -> None:
        self.log(message, "INFO", **metadata)

    def log_warning(self, message: str, **metadata: Any) -> None:
        self.log(message, "WARNING", **metadata)

    def log_error(self, message: str, **metadata: Any) -> None:
        self.log(message, "ERROR", **metadata)

    def flush_logs(self) -> None:
        """Let the thread send what it has now, rather than within 0.2 s. Does not wait."""
        if self._sender is not None:
            self._sender.flush_soon = True

    # Files

    def upload_checkpoint(
        self,
        local_path: str,
        is_best: bool = False,
        epoch: int | None = None,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
        resumable: bool | None = None,
    ) -> str:
        """Queue a checkpoint (a folder travels as one tar); the URI under which it will be found.

        ``step`` is the last step that was trained before it; ``resumable`` True: a later attempt may go on from it.
        Copies the file now, because training writes into it again; everything else happens in a thread. What does
        not get through waits in the spool for ``training_sdk sync``.
        """
        uri = self._upload(
            "upload_checkpoint",
            local_path,
            lambda source, place: checkpoint_upload(
                source,
                place,
                is_best=bool(is_best),
                epoch=encoding.count(epoch),
                metrics=encoding.metric_map(metrics, self._complain) or {},
                step=encoding.count(step),
                resumable=None if resumable is None else bool(resumable),
            ),
        )
        if uri is None:
            return str(local_path)
        if is_best:
            self._best_uri = uri
        self._last_uri = f"{uri.rpartition('/')[0]}/last{Path(uri).suffix}"
        return uri

    def upload_artifact(
        self, local_path: str, kind: str = "file", name: str | None = None, epoch: int | None = None
    ) -> str:
        """Queue any other file of this run (a folder travels as one tar); the URI under which it will be found.

        ``kind`` is plot, prediction, model or file. Copied now and kept like a checkpoint: what does not get through
        waits in the spool.
        """
        uri = self._upload(
            "upload_artifact",
            local_path,
            lambda source, place: artifact_upload(
                source, place, kind=self._known_kind(kind), name=name, epoch=encoding.count(epoch)
            ),
        )
        return str(local_path) if uri is None else uri

    def download_dataset(self, dataset_id: int | None = None, task_type: str | None = None) -> str:
        """Fetch the data set (DICE format) and return the local folder. Waits. Raises DatasetNotFound.

        A line in the log says every few seconds how far it is.
        """
        return download_dataset(self.settings, dataset_id, task_type, self.log_info)

    def resume_checkpoint(self) -> str | None:
        """The checkpoint to go on from as a local file (or folder), None to begin anew. Waits.

        Raises CheckpointNotUsable when there is one and it cannot be had as it was uploaded.
        """
        return fetch_resume_checkpoint(self.settings)

    @property
    def resume_epoch(self) -> int:
        """Epochs that were done before this attempt."""
        return self.settings.resume_epoch or 0

    @property
    def resume_step(self) -> int:
        """First step that this attempt writes: steps count over the whole run."""
        return self.settings.resume_step or 0

    # The end

    def should_stop(self) -> bool:
        """Whether somebody asked this run to end: SIGTERM, or the service."""
        if self._state == "new":
            self.start()
        return self._stop.requested

    @property
    def stop_reason(self) -> str | None:
        return self._stop.reason

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Send what is left, for at most ``timeout_s`` seconds; the rest stays in the spool. May be called twice.

        True when everything is in the log.
        """
        with self._opening:
            if self._state != "open" or self._sender is None:
                return self._state == "closed"
            self._state = "closed"
        _CLIENTS.discard(self)
        with self._no_raise("close"):
            self._stop.unwatch_sigterm()
            return self._sender.close(timeout_s)
        return False

    def __enter__(self) -> TrainerSDK:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, SystemExit):
            self.log(f"The training script ended with {type(error).__name__}: {error}", "ERROR")
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is another sender, of that process's environment."""
        return (TrainerSDK, ())

    # Inside

    @property
    def _reporting(self) -> bool:
        return self._state == "open" and self.settings.rank == 0

    def _post(self, payload: bytes, kind: int) -> None:
        if self._state == "new":
            self.start()
        if self._session is not None and self._reporting:
            self._session.post(payload, kind)
        elif self._state in ("closed", "child"):
            self._warn("this process reports nothing: the SDK is closed" if self._state == "closed" else _CHILD)

    def _upload(self, method: str, local_path: str, describe: Callable[[Path, Place], Upload]) -> str | None:
        """Copy and queue a file; its URI, None where it stays where it is."""
        try:
            self.start()
            uploads, settings = self._uploads, self.settings
            if uploads is None or settings.job_id is None or not self._reporting:
                return None
            if not settings.s3_endpoint:
                self._complain(f"{method}: S3_ENDPOINT is not set; {local_path} stays where it is")
                return None
            source = Path(local_path)
            place = Place(settings.checkpoints_bucket, settings.job_id, settings.attempt, clock.time())
            return uploads.add(source, describe(source, place))
        except Exception as error:
            self._complain(f"{method}: {local_path!r:.200}: {error}")
            return None

    def _known_kind(self, kind: str) -> str:
        if kind in wire.ARTIFACT_KINDS:
            return kind
        known = ", ".join(wire.ARTIFACT_KINDS)
        self._complain(f"upload_artifact: kind {kind!r:.60} is not one of {known}; file is taken")
        return "file"

    def _event(self, name: str, data: dict[str, Any], *, after_uploads: bool = False) -> None:
        given = {key: value for key, value in data.items() if value is not None}
        self._post(encoding.event_call(wire.JOBS, name, given, after_uploads=after_uploads), LIFECYCLE)

    def _announce(self, event: str, data: dict[str, Any], number: int) -> None:
        given = {key: value for key, value in data.items() if value is not None}
        if self._session is not None:
            self._session.post(encoding.event_call(wire.JOBS, event, given, upload=number), LIFECYCLE)

    def _open(self) -> str:
        settings = self.settings
        try:
            for problem in settings.problems:
                self._warn(problem)
            session = self._session = create_session(settings, self._warn)
            transport = self._transport if self._transport is not None else self._chosen_transport()
            self._uploads = UploadQueue(session.folder, lambda: open_store(settings), self._announce)
            self._sender = Sender(
                session,
                transport,
                self._uploads,
                tensor=self._tensors.read,
                on_stop=self._stop.request,
                commands_url=f"{settings.backend_url}/training/jobs/{settings.job_id}/commands"
                if settings.backend_url and settings.job_id is not None and self._transport is None
                else None,
                attempt=settings.attempt,
            )
            self._sender.start()
            self._stop.watch_sigterm()
        except Exception as error:
            logger.warning("training_sdk: nothing can be reported: %s", error, exc_info=True)
            return "failed"
        return "open"

    def _chosen_transport(self) -> Transport | None:
        if self.settings.job_id is None:
            self._warn("JOB_ID is not set: reports go to the local spool only")
            return None
        try:
            return choose_transport(self.settings, self._heed)
        except TransportError as error:
            self._warn(f"{error}: reports go to the local spool only")
            return None

    def _heed(self, answer: Any) -> None:
        if self._sender is not None:
            self._sender.heed(answer)

    @contextlib.contextmanager
    def _no_raise(self, method: str) -> Any:
        try:
            yield
        except Exception as error:
            self._complain(f"{method}: {error}")

    def _complain(self, problem: str) -> None:
        """Name what was wrong with a call, once: a warning, and a line in the run's log."""
        problem = self._secrets.masked(problem)
        if self._warn(problem) and self._session is not None and self._reporting:
            with contextlib.suppress(Exception):
                self._session.post(encoding.log_call(problem, "WARNING", "sdk", {}, LINE_LENGTH_MAX), LOG)

    def _warn(self, problem: str) -> bool:
        if problem in self._warned or len(self._warned) >= 100:
            return False
        self._warned.add(problem)
        logger.warning("training_sdk: %s", problem)
        return True

    def _after_fork(self) -> None:
        """A forked child (a DataLoader worker) has no sending thread and must not write into its parent's ring."""
        self._opening = threading.Lock()
        if self._session is not None:
            self._session.forget_in_child()
        self._state = "child"


_CHILD: Final = "a forked child process reports nothing; its parent does"
_CLIENTS: Final[weakref.WeakSet[TrainerSDK]] = weakref.WeakSet()


def _close_all() -> None:
    for sdk in list(_CLIENTS):
        sdk.close()


def _forked() -> None:
    for sdk in list(_CLIENTS):
        sdk._after_fork()


atexit.register(_close_all)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forked)
