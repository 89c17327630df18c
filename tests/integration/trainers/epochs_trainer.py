"""A trainer that can be interrupted: epochs of numbered steps, a checkpoint after each, and it goes on from one.

In the job's config: ``steps`` an epoch, ``step_s`` seconds each; ``kills``: attempts up to this one end themselves by
SIGKILL after epoch ``kill_epoch``, before its checkpoint; ``deaf``: never asks whether it should stop;
``memory_bytes`` and ``storage_bytes``: what it takes at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from training_sdk import TrainerSDK


def main() -> int:
    config = json.loads(os.environ["CONFIG"])
    epochs, steps, step_s = int(os.environ["EPOCHS"]), int(config["steps"]), float(config["step_s"])
    output = Path(os.environ["OUTPUT_PATH"])
    checkpoint = output / "last.pt"
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=epochs)
        done = step = 0
        if resumed := sdk.resume_checkpoint():
            state = json.loads(Path(resumed).read_text())
            done, step = state["epoch"], state["step"]
            assert (done, step + 1) == (sdk.resume_epoch, sdk.resume_step)
        block = bytearray(config.get("memory_bytes", 0))
        block[::1024] = b"x" * len(block[::1024])
        (output / "large").write_bytes(os.urandom(config.get("storage_bytes", 0)))
        for epoch in range(done + 1, epochs + 1):
            sdk.report_progress(epoch, epochs)
            for _ in range(steps):
                step += 1
                sdk.report_metrics(epoch, "train", {"loss": 1 / step}, step=step)
                time.sleep(step_s)
            sdk.report_metrics(epoch, "val", {"mAP50": epoch / epochs})
            if sdk.attempt <= config.get("kills", 0) and epoch == config["kill_epoch"]:
                os.kill(os.getpid(), signal.SIGKILL)
            checkpoint.write_text(json.dumps({"epoch": epoch, "step": step}))
            sdk.upload_checkpoint(str(checkpoint), False, epoch=epoch, step=step, resumable=True)
            if sdk.should_stop() and not config.get("deaf"):
                sdk.report_stopped(epoch)
                return 0
        sdk.report_completed({"total_epochs": epochs, "training_time_seconds": 1.0})
    return 0


if __name__ == "__main__":
    sys.exit(main())
