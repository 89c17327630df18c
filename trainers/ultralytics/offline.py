"""Ultralytics keeps to itself: no settings of the user's, nothing installed, fetched or told to others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, NoReturn

FONTS: Final = ("Arial.ttf", "Arial.Unicode.ttf")
REPORTERS: Final = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
"""Its own reporting. Our mirror writes the run to MLflow; twice would be wrong, and other hosts are told nothing."""


def keep_to_itself(output: Path) -> None:
    """Settings of this run's own, and the font it draws with. Before ultralytics is imported: it reads these then."""
    import matplotlib

    folder = output / "settings"
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    # With a key, its platform would be told of every epoch.
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in FONTS:
        wanted = folder / "Ultralytics" / name
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)
        wanted.symlink_to(font)


def switch_off_reporters() -> None:
    """In the run's settings file, which the processes of multi-GPU training read as well."""
    from ultralytics import settings

    update: Any = settings.update  # untyped there, or not, as mypy happens to come by
    update({**dict.fromkeys(REPORTERS, False), "api_key": ""})


def refuse_downloads() -> None:
    """Ultralytics fetches what it misses from github.com, whatever YOLO_OFFLINE says: on a GPU a model to try mixed
    precision with. Told that there is no connection, it goes on without."""
    from ultralytics.utils import downloads

    downloads.safe_download = _refused


def _refused(url: Any = "", *arguments: Any, **options: Any) -> NoReturn:
    raise ConnectionError(f"nothing is fetched from other hosts: {url}")
