"""A trainer that says its secret wherever it can: ``HF_TOKEN`` in lines, metadata and the error that ends it.

Where a file ``die`` lies in its output folder, it dies of that error without a report: in its last line.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from training_sdk import TrainerSDK


def main() -> int:
    token = os.environ["HF_TOKEN"]
    output = Path(os.environ["OUTPUT_PATH"])
    with TrainerSDK.from_env() as sdk:
        sdk.report_started(total_epochs=1)
        sdk.log_info(f"the token is {token}", token=token, headers={"Authorization": f"Bearer {token}"})
        (output / "started").touch()
        while not (output / "release").exists():
            time.sleep(0.02)
        if (output / "die").exists():
            raise RuntimeError(f"{'login ' * 79}with {token} failed")
        sdk.report_failed("UNKNOWN", f"401 for https://me:{token}@example.com/")
    return 1


if __name__ == "__main__":
    sys.exit(main())
