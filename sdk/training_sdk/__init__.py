"""Report what a training run does: ``from training_sdk import TrainerSDK``. Start and follow one: ``create_job``.

The names here are loaded when they are first used, so that ``training_sdk.wire`` (standard library only) can be
imported without the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_sdk.client import TrainerSDK
    from training_sdk.jobs import Job, create_job, find_jobs, get_job
    from training_sdk.service.requests import ApiError
    from training_sdk.settings import RunSettings, SettingsError
    from training_sdk.storage.datasets import DatasetNotFound
    from training_sdk.storage.resume import CheckpointNotUsable

__all__ = [
    "ApiError",
    "CheckpointNotUsable",
    "DatasetNotFound",
    "Job",
    "RunSettings",
    "SettingsError",
    "TrainerSDK",
    "create_job",
    "find_jobs",
    "get_job",
]

_HOME = {
    "ApiError": "training_sdk.service.requests",
    "Job": "training_sdk.jobs",
    "create_job": "training_sdk.jobs",
    "find_jobs": "training_sdk.jobs",
    "get_job": "training_sdk.jobs",
    "CheckpointNotUsable": "training_sdk.storage.resume",
    "DatasetNotFound": "training_sdk.storage.datasets",
    "RunSettings": "training_sdk.settings",
    "SettingsError": "training_sdk.settings",
    "TrainerSDK": "training_sdk.client",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'training_sdk' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
