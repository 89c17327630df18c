"""A reporting call on the training thread asks the operating system for nothing it could wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import resource, sys, threading
from pathlib import Path
from training_sdk import RunSettings, TrainerSDK

sdk = TrainerSDK(RunSettings.from_env({
    "JOB_ID": "25", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "EPOCHLOG_SPOOL_DIR": sys.argv[1],
}))
sdk.start()
sdk.report_started()
metrics = {"loss": 0.5, "box_loss": 0.1, "cls_loss": 0.2, "dfl_loss": 0.3, "lr": 0.01, "norm": 1.5}
sdk.report_metrics(1, "train", metrics, step=0)

asked, main, watching = [], threading.get_ident(), False
# Every open, socket, subprocess and file operation of Python raises an audit event before it happens.
sys.addaudithook(lambda event, _: asked.append(event) if watching and threading.get_ident() == main else None)
before = resource.getrusage(resource.RUSAGE_THREAD)
watching = True
for step in range(1, 5_001):
    sdk.report_metrics(1, "train", metrics, step=step)
    sdk.log_info("a line", step=step)
    sdk.report_progress(1, 10)
    sdk.should_stop()
watching = False
after = resource.getrusage(resource.RUSAGE_THREAD)
print(sorted(set(asked)), after.ru_inblock - before.ru_inblock)
sdk.close(0.1)
"""


def test_no_call_opens_reads_or_writes_anything_even_with_the_broker_away(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[] 0", done.stderr
