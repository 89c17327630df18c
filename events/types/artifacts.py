"""Files of a run that are no checkpoints: announced when the object lies in the store and its size was checked."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Epoch, Fact, Text


class ArtifactSaved(Fact):
    name: Text = Field(description="what people call it, e.g. confusion_matrix.png")
    kind: Text = Field(description="plot, prediction, model or file")
    epoch: Epoch | None = None
    object_uri: Text = Field(description="the immutable object")
    content_type: Text | None = None
    file_size_bytes: int = Field(ge=0)
    sha256: Text
