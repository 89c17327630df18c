"""What Ultralytics may not do, asked of Ultralytics itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainers.ultralytics.offline import keep_to_itself, refuse_downloads, switch_off_reporters


@pytest.fixture
def ultralytics_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings in a folder of the test's own, if it is imported here first; nobody reaches another host."""
    for name in ("YOLO_CONFIG_DIR", "YOLO_OFFLINE", "YOLO_AUTOINSTALL", "ULTRALYTICS_API_KEY"):
        monkeypatch.setenv(name, "before")
    keep_to_itself(tmp_path)

    def refused(host: Any, *arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"{host} was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    from ultralytics.utils import downloads

    monkeypatch.setattr(downloads, "safe_download", downloads.safe_download)


def test_the_environment_says_what_is_wanted_before_it_is_imported(tmp_path: Path, ultralytics_at_work: None) -> None:
    assert os.environ["YOLO_CONFIG_DIR"] == str(tmp_path / "settings")
    assert "ULTRALYTICS_API_KEY" not in os.environ
    font = tmp_path / "settings" / "Ultralytics" / "Arial.ttf"
    assert font.is_file() and font.resolve().name == "DejaVuSans.ttf"


def test_its_reporters_are_off(ultralytics_at_work: None) -> None:
    from ultralytics import settings

    switch_off_reporters()
    assert not any(settings[name] for name in ("sync", "mlflow", "wandb", "clearml", "comet", "dvc", "api_key"))


def test_a_model_that_it_wants_is_not_fetched(ultralytics_at_work: None, tmp_path: Path) -> None:
    from ultralytics.utils.downloads import attempt_download_asset

    refuse_downloads()
    with pytest.raises(ConnectionError, match=r"nothing is fetched from other hosts: https://github.com/.*yolo26n.pt"):
        attempt_download_asset(tmp_path / "yolo26n.pt")


def test_mixed_precision_on_a_gpu_is_used_without_fetching_a_model_to_try_it_with(
    ultralytics_at_work: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils.checks import check_amp

    refuse_downloads()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    parameter = SimpleNamespace(device=torch.device("cuda"))
    model: Any = SimpleNamespace(parameters=lambda: iter([parameter]))
    check: Any = check_amp
    assert check(model) is True
