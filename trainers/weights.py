"""Pretrained weights: from our own store where it has them; nothing is ever fetched from anywhere else."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Final

from minio.error import S3Error

from training_sdk import TrainerSDK
from training_sdk.storage.s3 import open_store
from training_sdk.storage.uploads import STORE_ERRORS, sha256_of

MISSING_CODES: Final = ("NoSuchKey", "NoSuchObject", "NoSuchBucket")


class WeightsNotUsable(RuntimeError):
    """There are weights, but they did not come whole: training from others would not be what was asked for."""


def fetch_weights(sdk: TrainerSDK, framework: str, model_name: str, suffix: str = ".pt") -> str | None:
    """The local file of ``models bucket/weights/<framework>/<model_name><suffix>``, None when there is none.

    Which of the two, stands in the run's log. The object's sha256 is checked where its metadata ``sha256`` records one.
    Waits. Raises WeightsNotUsable.
    """
    settings = sdk.settings
    key = f"weights/{framework}/{model_name}{suffix}"
    uri = f"s3://{settings.models_bucket}/{key}"
    if not settings.s3_endpoint:
        sdk.log_warning(f"No pretrained weights: S3_ENDPOINT is not set. {model_name} begins with random weights")
        return None
    try:
        store = open_store(settings)
        found = store.stat_object(settings.models_bucket, key)
        recorded = (found.metadata or {}).get("x-amz-meta-sha256")
        name = hashlib.sha256(f"{uri} {found.etag}".encode()).hexdigest()[:32]
        target = settings.data_dir / "cache" / "weights" / f"{name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        # One download at a time: several ranks of one machine ask at once.
        with target.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists() or target.stat().st_size != found.size:
                store.fget_object(settings.models_bucket, key, str(target))
    except S3Error as error:
        if error.code in MISSING_CODES:
            sdk.log_info(f"No pretrained weights at {uri}: {model_name} begins with random weights")
            return None
        raise WeightsNotUsable(f"the weights at {uri} cannot be fetched: {error}") from error
    except STORE_ERRORS as error:
        raise WeightsNotUsable(f"the weights at {uri} cannot be fetched: {error}") from error
    digest = _checked(target, uri, recorded)
    sdk.log_info(f"{model_name} begins with the pretrained weights of {uri}", sha256=digest)
    return str(target)


def _checked(path: Path, uri: str, recorded: str | None) -> str:
    digest = sha256_of(path)
    if recorded is not None and recorded != digest:
        path.unlink()
        raise WeightsNotUsable(f"the weights at {uri} have the sha256 {digest}, recorded is {recorded}")
    return digest
