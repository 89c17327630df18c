"""Ultralytics' detection trainer as two ranks on CPUs: what its own launcher starts for two GPUs, with gloo.

Its launcher, the hand-over of callbacks to the ranks, its training loop and its validation are Ultralytics' own. Other
than there, ranks meet through gloo, and there is no final validation of the best checkpoint: that asks for a GPU.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOCAL_RANK, RANK

RANKS = 2
TIMEOUT = timedelta(seconds=60)


class TwoRanks(DetectionTrainer):
    def __init__(self, cfg: Any = None, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        given = {} if cfg is None else {"cfg": cfg}
        super().__init__(**given, overrides={**(overrides or {}), "device": "cpu"}, _callbacks=_callbacks)
        self.world_size = RANKS
        self.ddp = LOCAL_RANK == -1

    def _setup_ddp(self) -> None:
        distributed.init_process_group("gloo", rank=RANK, world_size=RANKS, timeout=TIMEOUT)
        original = nn.parallel.DistributedDataParallel
        self.device = torch.device("cpu")

        def on_cpu(module: nn.Module, device_ids: Any = None, **options: Any) -> nn.Module:
            return original(module, **options)

        nn.parallel.DistributedDataParallel = on_cpu  # type: ignore[assignment,misc]

    def final_eval(self) -> None:
        distributed.barrier()
