"""Which models are registered right now: the read model, and on top of it what the outbox holds that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from events.codec import parse_data
from events.registry import event_type_of
from events.types.models import ModelRegistered
from producers.commands import framework_of
from producers.database import Connection
from producers.queries import load_queries
from training_sdk.wire import MODELS

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
EVENT_TYPE: Final = event_type_of(ModelRegistered).wire_name
PARAMETERS: Final = "parameters"
CONFIG_SCHEMA: Final = "config_schema"
"""What a registration says beyond names travels in its free object ``capability``, under these keys and any others."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a job's creation looks at: ``models`` of the name that was asked for by their framework, and all names that
    the framework offers (every framework where none is known)."""

    models: Mapping[str, ModelRegistered] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def names_of(model_name: str) -> list[str]:
    """A model's name as given, and without the ending of its file: ``yolo11n.pt`` is ``yolo11n``."""
    return sorted({model_name, model_name.removesuffix(".pt")})


async def load_models(transaction: Connection, names: list[str]) -> dict[str, ModelRegistered]:
    """The registrations under these names by framework; needs a transaction of producers.database."""
    found: dict[str, ModelRegistered] = {}
    for row in await queries.registered_models(transaction, names=names, event_type=EVENT_TYPE):
        if row["document"] is not None:
            model = ModelRegistered.model_validate(row["document"])
        else:
            data = parse_data(EVENT_TYPE, MODELS, row["data"])
            assert isinstance(data, ModelRegistered)
            model = data
        found[model.framework] = model
    return found


async def load_offer(transaction: Connection, model_name: str, framework: str | None) -> Offer:
    """What is registered under a name; where that leaves the model open, the names there are too."""
    models = await load_models(transaction, names_of(model_name))
    meant = framework or framework_of(model_name, models)
    if meant in models:
        return Offer(models)
    rows = await queries.offered_names(transaction, framework=meant, event_type=EVENT_TYPE)
    return Offer(models, tuple(row["name"] for row in rows))
