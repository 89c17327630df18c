"""What the environment says about this run: all three generations of variables, and the files they name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

BASIC_DEFAULTS: Final[Mapping[str, Any]] = {
    "imgsz": 640,
    "epochs": 100,
    "batch": 16,
    "lr0": 0.01,
    "optimizer": "SGD",
    "augment": True,
}
_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    # newest generation first
    "imgsz": ("IMGSZ", "CONFIG_IMGSZ"),
    "epochs": ("EPOCHS", "CONFIG_EPOCHS"),
    "batch": ("BATCH_SIZE", "CONFIG_BATCH"),
    "lr0": ("LEARNING_RATE", "CONFIG_LR0"),
    "optimizer": ("CONFIG_OPTIMIZER",),
    "augment": ("CONFIG_AUGMENT",),
}
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "imgsz": ("imgsz", "image_size"),
    "epochs": ("epochs",),
    "batch": ("batch", "batch_size"),
    "lr0": ("lr0", "learning_rate"),
    "optimizer": ("optimizer",),
    "augment": ("augment",),
}
PLATFORM_KEYS: Final = frozenset(
    {
        *("early_stopping", "limits", "max_retries", "split_strategy", "primary_metric", "primary_metric_mode"),
        *("custom_prompts", "augmentation"),
    }
)
"""What a job's config holds for the platform; no parameters of a training."""
_PARTS: Final = frozenset({"config", "basic", "advanced_config", "advanced"})


class SettingsError(ValueError):
    """A variable or file of this run is wrong; the message names it and its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run as its environment describes it. None: not given."""

    job_id: int | None = None
    attempt: int = 1
    rank: int = 0
    backend_url: str | None = None
    kafka_bootstrap_servers: str | None = None
    topic_prefix: str = ""
    transport: str | None = None
    """``kafka`` or ``http``; None: Kafka where it is known, else HTTP."""
    spool_dir: Path = field(default_factory=lambda: Path.home() / ".epochlog" / "spool")
    data_dir: Path = field(default_factory=lambda: Path.home() / ".epochlog")
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = field(default=None, repr=False)
    datasets_bucket: str = "training-datasets"
    checkpoints_bucket: str = "training-checkpoints"
    models_bucket: str = "training-models"
    archive_bucket: str = "training-archive"
    model_name: str | None = None
    task_type: str | None = None
    framework: str | None = None
    dataset_id: int | None = None
    dataset_uri: str | None = None
    output_path: str | None = None
    mlflow_tracking_uri: str | None = None
    resume_uri: str | None = None
    """The immutable object that this attempt goes on from."""
    resume_sha256: str | None = None
    resume_size: int | None = None
    resume_epoch: int | None = None
    resume_step: int | None = None
    """First step that this attempt writes again."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    """Variables that were left out because their values make no sense."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> RunSettings:
        """Read the environment. Never raises: what cannot be read is left out and named in ``problems``.

        Values of the training config are read by the getters, which raise SettingsError.
        """
        env = dict(os.environ if environment is None else environment)
        problems: list[str] = []

        def text(*names: str) -> str | None:
            return next((env[name] for name in names if env.get(name)), None)

        def number(*names: str) -> int | None:
            for name in names:
                if raw := env.get(name):
                    if raw.isascii() and raw.isdigit() and len(raw) <= 18:
                        return int(raw)
                    problems.append(f"{name} is {raw[:60]!r}, wanted a whole number; left out")
            return None

        data_dir = text("EPOCHLOG_DATA_DIR")
        spool_dir = text("EPOCHLOG_SPOOL_DIR")
        home = Path(os.path.expanduser("~")) / ".epochlog"  # Path.home() raises without a home
        transport = text("TRAINING_SDK_TRANSPORT")
        if transport is not None and transport not in ("kafka", "http"):
            problems.append(f"TRAINING_SDK_TRANSPORT is {transport[:60]!r}, wanted 'kafka' or 'http'; left out")
            transport = None
        rank = number("RANK", "LOCAL_RANK")
        attempt = number("TRAINING_ATTEMPT")
        backend_url = text("CALLBACK_URL", "BACKEND_URL")
        return cls(
            job_id=number("JOB_ID", "TRAINING_JOB_ID"),
            attempt=1 if attempt is None else attempt,
            rank=rank or 0,
            backend_url=backend_url.rstrip("/") if backend_url else None,
            kafka_bootstrap_servers=text("KAFKA_BOOTSTRAP_SERVERS"),
            topic_prefix=env.get("EPOCHLOG_TOPIC_PREFIX", ""),
            transport=transport,
            spool_dir=Path(spool_dir) if spool_dir else home / "spool",
            data_dir=Path(data_dir) if data_dir else home,
            s3_endpoint=text("EXTERNAL_STORAGE_ENDPOINT", "S3_ENDPOINT"),
            s3_access_key=text("EXTERNAL_STORAGE_ACCESS_KEY", "S3_ACCESS_KEY"),
            s3_secret_key=text("EXTERNAL_STORAGE_SECRET_KEY", "S3_SECRET_KEY"),
            datasets_bucket=text("EPOCHLOG_DATASETS_BUCKET") or "training-datasets",
            checkpoints_bucket=text("EPOCHLOG_CHECKPOINTS_BUCKET") or "training-checkpoints",
            models_bucket=text("EPOCHLOG_MODELS_BUCKET") or "training-models",
            archive_bucket=text("EPOCHLOG_ARCHIVE_BUCKET") or "training-archive",
            model_name=text("MODEL_NAME"),
            task_type=text("TASK_TYPE"),
            framework=text("FRAMEWORK"),
            dataset_id=number("DATASET_ID"),
            dataset_uri=text("DATASET_S3_URI", "DATASET_PATH"),
            output_path=text("OUTPUT_PATH"),
            mlflow_tracking_uri=text("MLFLOW_TRACKING_URI"),
            resume_uri=text("TRAINING_RESUME_URI"),
            resume_sha256=text("TRAINING_RESUME_SHA256"),
            resume_size=number("TRAINING_RESUME_SIZE"),
            resume_epoch=number("TRAINING_RESUME_EPOCH"),
            resume_step=number("TRAINING_RESUME_STEP"),
            environment=env,
            problems=tuple(problems),
        )

    def config(self) -> dict[str, Any]:
        """The JSON of CONFIG (spec 4.4.1), {} without it. Raises SettingsError."""
        return self._json("CONFIG")

    def config_file(self) -> dict[str, Any]:
        """The file that CONFIG_PATH names (spec 4.7), {} without it. Raises SettingsError."""
        path = self.environment.get("CONFIG_PATH")
        return load_config(path) if path else {}

    def basic_config(self) -> dict[str, Any]:
        """imgsz, epochs, batch, lr0, optimizer, augment, and whatever else of the basic config was given.

        Order: the spec's 4.4.1 variables and CONFIG, then CONFIG_* (4.8), then CONFIG_PATH (4.7), then the defaults.
        Raises SettingsError naming the variable and its value.
        """
        newest = _flat(self.config())
        file = self.config_file()
        oldest = file.get("basic", file)
        basic: dict[str, Any] = {}
        for name, default in BASIC_DEFAULTS.items():
            where, raw = self._basic_value(name, newest, oldest if isinstance(oldest, dict) else {})
            basic[name] = default if raw is None else _converted(where, raw, default)
        known = {alias for aliases in _ALIASES.values() for alias in aliases} | PLATFORM_KEYS | _PARTS
        for source in (oldest, newest):
            if isinstance(source, dict):
                basic |= {name: value for name, value in source.items() if name not in known and value is not None}
        if device := self.environment.get("DEVICE"):
            basic["device"] = device
        return basic

    def was_given(self, name: str) -> bool:
        """Whether somebody set that value of the basic config. Raises SettingsError."""
        file = self.config_file()
        newest, oldest = self.config(), file.get("basic", file)
        return self._basic_value(name, _flat(newest), oldest if isinstance(oldest, dict) else {})[1] is not None

    def _basic_value(self, name: str, newest: Mapping[str, Any], oldest: Mapping[str, Any]) -> tuple[str, Any]:
        variables = _VARIABLES[name]
        if len(variables) == 2 and self.environment.get(variables[0]):
            return variables[0], self.environment[variables[0]]
        for key in _ALIASES[name]:
            if newest.get(key) is not None:
                return f"CONFIG: {key}", newest[key]
        if self.environment.get(variables[-1]):
            return variables[-1], self.environment[variables[-1]]
        for key in _ALIASES[name]:
            if oldest.get(key) is not None:
                return f"CONFIG_PATH: {key}", oldest[key]
        return name, None

    def advanced_config(self) -> dict[str, Any]:
        """The trainer's own settings: CONFIG's advanced_config, else ADVANCED_CONFIG, else CONFIG_PATH's.

        Raises SettingsError.
        """
        for where, found in (
            ("CONFIG: advanced_config", self.config().get("advanced_config")),
            ("ADVANCED_CONFIG", self._json("ADVANCED_CONFIG") or None),
            ("CONFIG_PATH: advanced", self.config_file().get("advanced")),
            ("CONFIG_PATH: advanced_config", self.config_file().get("advanced_config")),
        ):
            if found is not None:
                if not isinstance(found, dict):
                    raise SettingsError(f"{where} is {found!r:.60}, wanted a JSON object")
                return found
        return {}

    def _json(self, name: str) -> dict[str, Any]:
        raw = self.environment.get(name)
        if not raw:
            return {}
        try:
            document = json.loads(raw)
        except ValueError as error:
            raise SettingsError(f"{name} is not JSON ({error}): {raw[:80]!r}") from error
        if not isinstance(document, dict):
            raise SettingsError(f"{name} is {raw[:80]!r}, wanted a JSON object")
        return document


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """CONFIG with the basic values that may lie one level deeper."""
    nested = config.get("basic") or config.get("config") or {}
    return {**(nested if isinstance(nested, dict) else {}), **config}


def load_config(path: str) -> dict[str, Any]:
    """A config file: JSON with "basic" and "advanced" (spec 4.7). Raises SettingsError."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"config file {path!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"config file {path!r} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"config file {path!r} holds no JSON object")
    return document


def _converted(where: str, raw: Any, default: Any) -> Any:
    wanted = type(default)
    try:
        if wanted is bool:
            if isinstance(raw, str):
                return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[raw.lower()]
            return bool(raw)
        if wanted is int and isinstance(raw, float) and raw != int(raw):
            raise ValueError("not whole")
        return wanted(raw)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[wanted]
        raise SettingsError(f"{where} is {raw!r:.60}, wanted {kind}") from error
