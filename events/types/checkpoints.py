"""Checkpoints: announced only after the object lies in the store and its size was checked."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Epoch, Fact, Metrics, Step, Text


class CheckpointSaved(Fact):
    epoch: Epoch | None = None
    checkpoint_path: Text = Field(description="the alias that people know, e.g. s3://.../checkpoints/25/best.pt")
    object_uri: Text | None = Field(default=None, description="the immutable object; a resume reads only this")
    is_best: bool = False
    metrics: Metrics | None = None
    file_size_bytes: int | None = Field(default=None, ge=0)
    sha256: Text | None = None
    resumable: bool | None = Field(default=None, description="whether training can go on from it; unknown is no")
    step: Step | None = Field(default=None, description="last step that was trained before it")
