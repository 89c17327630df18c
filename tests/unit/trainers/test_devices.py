from __future__ import annotations

import pytest

from trainers.configuration import InvalidConfig
from trainers.devices import check_device


@pytest.mark.parametrize(
    ("device", "gpus"),
    [(None, 0), ("", 0), ("cpu", 0), ("mps", 0), ("0", 1), ("cuda", 1), ("cuda:0", 1), ("0,1", 2)],
)
def test_what_is_there_may_be_asked_for(device: str | None, gpus: int) -> None:
    check_device(device, gpus)


@pytest.mark.parametrize(
    ("device", "gpus", "missing"), [("0", 0, "0"), ("cuda", 0, "0"), ("cuda:1", 1, "1"), ("0,1,2", 1, "1, 2")]
)
def test_what_is_not_there_is_named(device: str, gpus: int, missing: str) -> None:
    with pytest.raises(InvalidConfig, match=f"there is no GPU {missing} here, {gpus} in all"):
        check_device(device, gpus)
