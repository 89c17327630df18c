"""A small history through every door, and everything the API says of it: for comparing before and after."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from tests.chaos.conftest import Chaos
from tests.running import create_job
from tests.waiting import eventually

STEPS: Final = 60
PAGES: Final = (
    *("", "/metrics", "/metrics/series?names=train/loss,loss", "/logs?limit=1000", "/events", "/checkpoints"),
    *("/artifacts", "/system"),
)
"""Below a job; what the lists of jobs and data sets say is compared too."""
OF_THIS_MOMENT: Final = {"integrity_checked_at", "as_of", "age_seconds"}


async def make_history(chaos: Chaos) -> list[int]:
    """A run of the SDK under a launcher that completes, one by callbacks that fails, with a tag and a checkpoint."""
    run = await chaos.create_run(STEPS)
    by_hand = await create_job(chaos.client, chaos.dataset_id)
    callback = f"training/jobs/{by_hand}/callback"
    for path, body in (
        ("started", {"pid": 1, "hostname": "pod"}),
        ("progress", {"epoch": 1, "total_epochs": 3, "phase": "train"}),
        ("metrics", {"epoch": 1, "step": 1, "phase": "train", "metrics": {"loss": 0.5}}),
        (
            "checkpoint",
            {"checkpoint_path": f"s3://training-checkpoints/{by_hand}/best.pt", "is_best": True, "epoch": 1},
        ),
        ("log", {"level": "INFO", "message": "hello"}),
        ("completion", {"status": "failed", "error_code": "OOM", "error_message": "CUDA out of memory"}),
    ):
        answer = await chaos.client.post(f"{callback}/{path}", json=body)
        assert answer.status_code == 200, answer.text
    changed = await chaos.client.patch(f"training/jobs/{by_hand}", json={"tags": ["night"], "notes": "mind the memory"})
    assert changed.status_code in (200, 202), changed.text
    await chaos.ends(run)
    await chaos.ends(by_hand)
    return [run, by_hand]


async def everything(chaos: Chaos, jobs: list[int]) -> dict[str, Any]:
    """What the API answers, path by path, when it has settled: two looks in a row that say the same."""
    last: dict[str, Any] = {}

    async def settled() -> bool:
        nonlocal last
        before, last = last, {path: await _look(chaos, path) for path in _paths(jobs)}
        await asyncio.sleep(0.3)
        return before == last

    await eventually(settled, timeout_s=40, what="the API says the same twice")
    return last


def _paths(jobs: list[int]) -> list[str]:
    return ["training/jobs?tag=night", "datasets", *(f"training/jobs/{job}{page}" for job in jobs for page in PAGES)]


async def _look(chaos: Chaos, path: str) -> Any:
    answer = await chaos.client.get(path)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return _without_the_moment(answer.json())


def _without_the_moment(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_the_moment(inner) for name, inner in value.items() if name not in OF_THIS_MOMENT}
    return [_without_the_moment(inner) for inner in value] if isinstance(value, list) else value
