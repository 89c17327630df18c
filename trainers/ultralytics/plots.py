"""The pictures that Ultralytics draws into its folder, as artifacts of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training_sdk import TrainerSDK

PICTURES: Final = (".png", ".jpg")
PLOTS_MAX: Final = 100


def upload_plots(sdk: TrainerSDK, folder: Path, epoch: int) -> int:
    """Confusion matrices, curves and batches; what was predicted for pictures is a prediction. How many there are."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix in PICTURES) if folder.is_dir() else []
    for picture in pictures[:PLOTS_MAX]:
        sdk.upload_artifact(str(picture), "prediction" if picture.stem.endswith("_pred") else "plot", epoch=epoch)
    return min(len(pictures), PLOTS_MAX)
