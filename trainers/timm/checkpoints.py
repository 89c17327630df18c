"""All that a later attempt needs to go on as if nothing had happened, in one file.

There is no state of random generators in it: each epoch seeds them from the seed, its number and the rank.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from trainers.timm.config import TimmConfig
from trainers.timm.parts import Parts
from trainers.timm.progress import Progress
from training_sdk import CheckpointNotUsable

FORMAT: Final = "epochlog.timm"
VERSION: Final = 1


def save(
    path: Path, parts: Parts, progress: Progress, config: TimmConfig, classes: list[str], normal: dict[str, Any]
) -> None:
    """Atomically, and on the disk when this returns. ``normal`` says how pictures are made ready for the model."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": config.architecture,
        "classes": classes,
        "normalization": {name: list(value) if isinstance(value, tuple) else value for name, value in normal.items()},
        "config": config.model_dump(mode="json"),
        "progress": asdict(progress),
        "model": parts.model.state_dict(),
        "ema": None if parts.ema is None else parts.ema.module.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "schedule": parts.schedule.state_dict(),
        "scaler": parts.scaler.state_dict(),
    }
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        torch.save(document, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def restore(
    path: str, parts: Parts, progress: Progress, config: TimmConfig, classes: list[str], device: torch.device
) -> None:
    """Put everything back into ``parts`` and ``progress``. Raises CheckpointNotUsable."""
    document = read(path, device)
    for name, wanted in (("architecture", config.architecture), ("classes", classes)):
        if document.get(name) != wanted:
            found = f"{document.get(name)!r:.200}"
            raise CheckpointNotUsable(f"the checkpoint's {name}: {found}; this run's: {wanted!r:.200}")
    try:
        parts.model.load_state_dict(document["model"])
        if parts.ema is not None:
            parts.ema.module.load_state_dict(document["ema"] or document["model"])
        parts.optimizer.load_state_dict(document["optimizer"])
        parts.schedule.load_state_dict(document["schedule"])
        parts.scaler.load_state_dict(document["scaler"])
        for name, value in document["progress"].items():
            setattr(progress, name, value)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointNotUsable(f"the checkpoint does not fit this run: {str(error)[:500]}") from error


def read(path: str, device: torch.device) -> dict[str, Any]:
    """A file that ``save`` wrote. Only tensors and plain values are read, never code. Raises CheckpointNotUsable."""
    try:
        document = torch.load(path, map_location=device, weights_only=True)
    except (EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointNotUsable(f"{path} is no checkpoint of this trainer: {str(error)[:300]}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointNotUsable(f"{path} is no checkpoint of this trainer; it would name its format {FORMAT!r}")
    if document.get("version") != VERSION:
        raise CheckpointNotUsable(f"{path} has version {document.get('version')!r}, this trainer reads {VERSION}")
    return document
