"""The configuration of an Ultralytics run, checked before anything is downloaded or trained."""

from __future__ import annotations

import difflib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MODELS_FILE: Final = Path(__file__).parent / "models.json"
IMGSZ_STEP: Final = 32

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]


class InvalidConfig(ValueError):
    """Every problem of the configuration, in one message."""


class BasicConfig(BaseModel):
    """Parameters that every trainer of the platform knows."""

    model_config = ConfigDict(extra="ignore")

    imgsz: Annotated[int, Field(ge=IMGSZ_STEP, le=8192)] = 640
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    lr0: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.01
    optimizer: str = "SGD"
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    device: str | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    save_period: Annotated[int, Field(ge=-1, le=100_000)] = -1

    @field_validator("imgsz")
    @classmethod
    def _multiple(cls, imgsz: int) -> int:
        if imgsz % IMGSZ_STEP:
            raise ValueError(f"must be a multiple of {IMGSZ_STEP}")
        return imgsz


class AdvancedConfig(BaseModel):
    """Ultralytics' own parameters; others of its many may be given, by their names, and are passed on as they are."""

    model_config = ConfigDict(extra="allow")

    mosaic: Share = 1.0
    mixup: Share = 0.0
    copy_paste: Share = 0.0
    degrees: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] = 0.0
    translate: Share = 0.1
    scale: Factor = 0.5
    shear: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)] = 0.0
    perspective: Annotated[float, Field(ge=0, le=0.001, allow_inf_nan=False)] = 0.0
    flipud: Share = 0.0
    fliplr: Share = 0.5
    cos_lr: bool = False
    multi_scale: bool | float = False
    iou: Share | None = None
    nms: bool | float | None = None
    conf: Share | None = None


# Arguments that the platform decides itself; given ones would send files, names or reports elsewhere.
OURS: Final = frozenset(
    {"data", "model", "project", "name", "exist_ok", "resume", "save", "save_dir", "mode", "task", "cfg", "patience"}
)


class UltralyticsConfig(BaseModel):
    architecture: str
    basic: BasicConfig
    advanced: AdvancedConfig

    def train_arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``YOLO.train`` that come from the job."""
        advanced = self.advanced.model_dump(exclude_none=True)
        nms = advanced.pop("nms", None)
        if nms is not None and not isinstance(nms, bool):
            # The design's `nms: 0.7` is the threshold that Ultralytics calls iou; its own nms is a switch.
            advanced.setdefault("iou", nms)
        elif nms is not None:
            advanced["nms"] = nms
        basic = self.basic.model_dump(exclude_none=True)
        return {**basic, **advanced}


def architecture_of(model_name: str | None) -> str:
    """The architecture file of a model's name, with or without ``.pt``. Raises InvalidConfig."""
    models = {model["name"]: model["architecture"] for model in json.loads(MODELS_FILE.read_text())["models"]}
    name = (model_name or "").removesuffix(".pt").removesuffix(".yaml")
    if name not in models:
        raise InvalidConfig(f"model {model_name!r} is not known; there are {', '.join(sorted(models))}")
    architecture: str = models[name]
    return architecture


@cache
def parameter_names() -> frozenset[str]:
    """All that Ultralytics knows, from its file of defaults: importing it would load torch first."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("ultralytics is not installed")
    defaults = yaml.safe_load((Path(spec.origin).parent / "cfg" / "default.yaml").read_text())
    return frozenset(defaults)


def unknown_names(advanced: dict[str, Any]) -> list[str]:
    """One problem for each name that Ultralytics would refuse, with the name that was perhaps meant."""
    known = parameter_names() | set(AdvancedConfig.model_fields)
    problems = []
    for name in sorted(set(advanced) - known - OURS):
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        problems.append(f"advanced_config.{name}: Ultralytics has no such parameter{meant}")
    return problems


def read_config(model_name: str | None, basic: dict[str, Any], advanced: dict[str, Any]) -> UltralyticsConfig:
    """Raises InvalidConfig naming every problem."""
    problems: list[str] = []
    try:
        architecture = architecture_of(model_name)
    except InvalidConfig as error:
        architecture = ""
        problems.append(str(error))
    found: dict[str, Any] = {}
    for part, kind, given in (("config", BasicConfig, basic), ("advanced_config", AdvancedConfig, advanced)):
        try:
            found[part] = kind.model_validate(given)
        except ValidationError as error:
            problems += [
                f"{part}.{'.'.join(str(step) for step in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_url=False)
            ]
    reserved = sorted(OURS.intersection(advanced))
    if reserved:
        problems.append(f"advanced_config: set by the platform and not by a job: {', '.join(reserved)}")
    problems += unknown_names(advanced)
    if problems:
        raise InvalidConfig("; ".join(problems))
    return UltralyticsConfig(architecture=architecture, basic=found["config"], advanced=found["advanced_config"])
