"""Training scripts that the tests run as processes: ``python -m tests.integration.sdk.scripts NAME ARGUMENTS``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from training_sdk import TrainerSDK


def killed(calls: str) -> None:
    """Report, and kill oneself the moment the last call has returned."""
    sdk = TrainerSDK.from_env()
    sdk.report_started({})
    for step in range(int(calls)):
        sdk.report_metrics(1, "train", {"loss": step / 7, "lr": 0.1}, step=step)
        if step % 100 == 0:
            sdk.log(f"step {step}")
    os.kill(os.getpid(), signal.SIGKILL)


def killed_with_checkpoint(folder: str) -> None:
    """Queue a checkpoint, overwrite the file, and die."""
    sdk = TrainerSDK.from_env()
    path = Path(folder) / "weights.pt"
    path.write_bytes(b"first" * 1000)
    sdk.upload_checkpoint(str(path), is_best=True, epoch=1, metrics={"mAP50": 0.5})
    path.write_bytes(b"later" * 1000)
    sdk.report_completed({"total_epochs": 1})
    os.kill(os.getpid(), signal.SIGKILL)


def killed_with_artifacts(folder: str) -> None:
    """Queue three artifacts out of the same file, and die the moment the last call has returned."""
    sdk = TrainerSDK.from_env()
    path = Path(folder) / "plot.png"
    for number in range(3):
        path.write_text(str(number))
        sdk.upload_artifact(str(path), "plot", epoch=number)
    os.kill(os.getpid(), signal.SIGKILL)


def downloading() -> None:
    """Fetch the data set of the environment."""
    TrainerSDK.from_env().download_dataset()


def left_to_exit(calls: str) -> None:
    """Report and leave without close()."""
    sdk = TrainerSDK.from_env()
    for step in range(int(calls)):
        sdk.report_metrics(1, "train", {"loss": 0.5}, step=step)


def until_stopped(ready: str) -> None:
    """Train until somebody asks to stop, then say at which step."""
    sdk = TrainerSDK.from_env()
    Path(ready).touch()
    epoch = 0
    while not sdk.should_stop():
        epoch += 1
        sdk.report_metrics(epoch, "train", {"loss": 0.5})
        signal.sigtimedwait([], 0.01)
    sdk.report_stopped(epoch)
    sdk.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
