"""A trainer for chaos tests: reports steadily, and writes down every call that had returned.

``steps`` steps of ``step_s`` seconds each, from the job's config; the file ``OUTPUT_PATH/returned`` holds the number of
the last step whose call had returned, written before the next call.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from training_sdk import TrainerSDK


def write(path: Path, text: str) -> None:
    """In one step: whoever reads it meanwhile finds a number, the last one or this."""
    made = path.with_suffix(".new")
    made.write_text(text)
    os.replace(made, path)


def main() -> int:
    config = json.loads(os.environ["CONFIG"])
    steps, step_s = int(config["steps"]), float(config["step_s"])
    output = Path(os.environ["OUTPUT_PATH"])
    output.mkdir(parents=True, exist_ok=True)
    slowest_s = 0.0
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=1)
        (output / "started").touch()
        for step in range(1, steps + 1):
            began = time.perf_counter()
            sdk.report_metrics(1, "train", {"loss": 1 / step}, step=step)
            sdk.log_info(f"step {step}")
            slowest_s = max(slowest_s, time.perf_counter() - began)
            write(output / "returned", str(step))
            write(output / "slowest_s", str(slowest_s))
            if sdk.should_stop():
                sdk.report_stopped(1)
                return 0
            time.sleep(step_s)
        sdk.report_completed({"total_epochs": 1, "training_time_seconds": steps * step_s})
    return 0


if __name__ == "__main__":
    sys.exit(main())
