"""A trainer whose validation gets no better after its second epoch: it goes on until it is told to stop.

An epoch takes ``epoch_s`` seconds of the job's config. It knows nothing of early stopping, as every trainer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from training_sdk import TrainerSDK

STEPS = 5


def main() -> int:
    config = json.loads(os.environ["CONFIG"])
    epochs, epoch_s = int(os.environ["EPOCHS"]), float(config["epoch_s"])
    output = Path(os.environ["OUTPUT_PATH"])
    output.mkdir(parents=True, exist_ok=True)
    best, best_epoch = 0.0, 0
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=epochs)
        for epoch in range(1, epochs + 1):
            sdk.report_progress(epoch, epochs, "train")
            for step in range(STEPS):
                time.sleep(epoch_s / STEPS)
                sdk.report_metrics(epoch, "train", {"loss": 1 / epoch}, step=epoch * STEPS + step)
            value = 0.3 * min(epoch, 2)
            if value > best:
                best, best_epoch = value, epoch
            sdk.report_metrics(epoch, "val", {"metrics/mAP50(B)": value, "mAP50": value})
            (output / "last.pt").write_bytes(b"epoch %d" % epoch)
            sdk.upload_checkpoint(str(output / "last.pt"), is_best=epoch == best_epoch, epoch=epoch)
            if sdk.should_stop():
                results = {"total_epochs": epoch, "best_epoch": best_epoch, "best_metrics": {"mAP50": best}}
                sdk.report_stopped(epoch, training_results=results)
                return 0
        sdk.report_completed({"total_epochs": epochs, "best_epoch": best_epoch})
    return 0


if __name__ == "__main__":
    sys.exit(main())
