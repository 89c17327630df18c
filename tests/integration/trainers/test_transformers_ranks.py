"""Several processes of one training: what one of them knows, all of them do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ASK = """
import sys
import torch
from trainers.transformers.reports import agreed

rank, store = int(sys.argv[1]), sys.argv[2]
assert agreed(True, torch.device("cpu")) and not agreed(False, torch.device("cpu")), "alone"
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
# Only the first has heard of the stop; then nobody has.
print(agreed(rank == 0, torch.device("cpu")), agreed(False, torch.device("cpu")))
torch.distributed.destroy_process_group()
"""


def test_a_stop_that_one_process_has_heard_of_stops_all_of_them(tmp_path: Path) -> None:
    """One that went on alone would wait for the others in its next step, until the group's timeout."""
    processes = [
        subprocess.Popen([sys.executable, "-c", ASK, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    try:
        answers = [process.communicate(timeout=90)[0].decode().strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert answers == ["True False", "True False"]
