"""Which files a run keeps, under which names they lie in the store, and what announces them. Pure."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training_sdk import wire
from training_sdk.storage.uploads import Upload

CHECKPOINT_TYPE: Final = "application/octet-stream"
TAR_TYPE: Final = "application/x-tar"
NAME_LENGTH_MAX: Final = 250
FILE_NAME_LENGTH_MAX: Final = 150
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where this run's files belong. ``saved_at`` is the moment of the call, in Unix seconds."""

    bucket: str
    job_id: int
    attempt: int
    saved_at: float


def checkpoint_upload(
    source: Path,
    place: Place,
    *,
    is_best: bool,
    epoch: int | None,
    metrics: dict[str, Any],
    step: int | None = None,
    resumable: bool | None = None,
) -> Upload:
    """A checkpoint: immutable below its attempt, and shown as ``best``, ``last`` or the epoch it is named after."""
    suffix = ".tar" if source.is_dir() else ".pt"
    folder = f"checkpoints/{place.job_id}"
    aliases = [f"{folder}/{name}" for name in alias_names(source.name, suffix, is_best)]
    return Upload(
        bucket=place.bucket,
        prefix=f"{folder}/attempt-{place.attempt}/",
        ending=suffix,
        aliases=aliases,
        attempt=place.attempt,
        content_type=TAR_TYPE if source.is_dir() else CHECKPOINT_TYPE,
        event=wire.CHECKPOINT_SAVED,
        data={
            "epoch": epoch,
            "checkpoint_path": f"s3://{place.bucket}/{aliases[0]}",
            "is_best": is_best,
            "metrics": metrics,
            "step": step,
            "resumable": resumable,
        },
        saved_at=place.saved_at,
    )


def artifact_upload(source: Path, place: Place, *, kind: str, name: str | None, epoch: int | None) -> Upload:
    """Any other file: immutable, and found by its event only."""
    is_folder = source.is_dir()
    shown = _printable(str(name or source.resolve().name))
    if is_folder and not shown.endswith(".tar"):
        shown = f"{shown}.tar"
    content_type = TAR_TYPE if is_folder else mimetypes.guess_type(shown)[0] or CHECKPOINT_TYPE
    return Upload(
        bucket=place.bucket,
        prefix=f"artifacts/{place.job_id}/attempt-{place.attempt}/",
        ending=f"/{safe_file_name(shown)}",
        aliases=[],
        attempt=place.attempt,
        content_type=content_type,
        event=wire.ARTIFACT_SAVED,
        data={"name": shown, "kind": kind, "epoch": epoch, "content_type": content_type},
        saved_at=place.saved_at,
    )


def alias_names(file_name: str, suffix: str, is_best: bool) -> list[str]:
    """Which names a checkpoint gets. A best one is last too: nothing newer exists when it is copied there."""
    stem = file_name.partition(".")[0]
    if is_best:
        return [f"best{suffix}", f"last{suffix}"]
    if stem.startswith("epoch_") and stem[6:].isdigit():
        return [f"{stem}{suffix}", f"last{suffix}"]
    return [f"last{suffix}"]


def safe_file_name(name: str) -> str:
    """The last part of a name, with nothing that a key, a URL or a header would read otherwise."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return _UNSAFE.sub("_", last).lstrip(".")[-FILE_NAME_LENGTH_MAX:] or "file"


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[-NAME_LENGTH_MAX:] or "file"
