"""The frameworks there are trainers for, and the models that each of them offers.

``python -m trainers.catalogue register [--framework timm]`` tells the service; ``show`` prints what would be told.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from events.config_schema import schema_of


@dataclass(frozen=True, slots=True)
class Framework:
    """``module`` is run as ``python -m``; it reads its job from the environment.

    ``config`` is the module with BasicConfig, AdvancedConfig and MODELS_FILE; None: it offers no models. Its function
    ``fit_schema(entry, schema)``, where there is one, narrows the schema to one entry of that file.
    """

    name: str
    module: str
    config: str | None = None

    @property
    def installed(self) -> bool:
        """Whether the package of the framework's name is there, without importing it."""
        return importlib.util.find_spec(self.name) is not None


FRAMEWORKS: Final = {
    framework.name: framework
    for framework in (
        # name                   module                        configuration and models
        Framework("ultralytics", "trainers.ultralytics.train", "trainers.ultralytics.config"),
        Framework("timm", "trainers.timm.train", "trainers.timm.config"),
        Framework("transformers", "trainers.transformers.train", "trainers.transformers.config"),
    )
}


class InvalidCatalogue(ValueError):
    """EPOCHLOG_TRAINERS is not what it should be."""


def frameworks(more: str | None = None) -> dict[str, Framework]:
    """The trainers of this house, and those of yours: ``more`` is EPOCHLOG_TRAINERS, a JSON object of framework
    names and Python modules, e.g. ``{"mine": "my_package.train"}``. Raises InvalidCatalogue."""
    try:
        added = json.loads(more) if more else {}
    except ValueError as error:
        raise InvalidCatalogue(f"EPOCHLOG_TRAINERS is not JSON: {error}") from error
    if not isinstance(added, dict) or not all(isinstance(module, str) for module in added.values()):
        raise InvalidCatalogue('EPOCHLOG_TRAINERS must be an object such as {"mine": "my_package.train"}')
    return {**FRAMEWORKS, **{name: Framework(name, module) for name, module in added.items()}}


def offered_models(framework: Framework) -> list[dict[str, Any]]:
    """What a framework's trainer offers: the body of ``POST /api/v1/models`` for each entry of its models.json.

    Imports the framework's configuration, which imports neither torch nor the framework.
    """
    if framework.config is None:
        return []
    config = importlib.import_module(framework.config)
    entries = json.loads(config.MODELS_FILE.read_text())["models"]
    return [_registration(framework, entry, config) for entry in entries]


def basic_defaults(framework: Framework, names: Collection[str]) -> dict[str, Any]:
    """What a framework's trainer takes for these basic parameters when nobody gives them."""
    # A launcher's image may carry the trainer of another framework only; the run's own end says so then.
    if framework.config is None or importlib.util.find_spec(framework.config.rpartition(".")[0]) is None:
        return {}
    fields = importlib.import_module(framework.config).BasicConfig.model_fields
    return {name: fields[name].get_default() for name in names if name in fields}


def _registration(framework: Framework, entry: Mapping[str, Any], config: Any) -> dict[str, Any]:
    millions = entry.get("parameters_millions")
    schema = schema_of(f"{entry['name']} ({framework.name})", config.BasicConfig, config.AdvancedConfig)
    if hasattr(config, "fit_schema"):
        config.fit_schema(entry, schema)
    return {
        "name": entry["name"],
        "framework": framework.name,
        "task_types": entry["task_types"],
        "description": entry.get("description"),
        "parameters": None if millions is None else round(millions * 1_000_000),
        "capability": {
            "architecture": entry["architecture"],
            "metrics": sorted({metric for task in entry["task_types"] for metric in METRICS[task]}),
            "resumable": True,
        },
        "config_schema": schema,
    }


METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "detection": ("mAP50", "mAP50-95", "precision", "recall", "val_loss"),
    "segmentation": ("mAP50", "mAP50-95", "precision", "recall", "val_loss"),
    "pose": ("mAP50", "mAP50-95", "precision", "recall", "val_loss"),
    "classification": ("accuracy", "accuracy_top5", "val_loss"),
}
"""The canonical names under which a task's validation is reported, by every trainer."""


if __name__ == "__main__":
    from trainers.registration import main

    raise SystemExit(main())
