"""Every model, optimizer and schedule that the configuration names is really timm's."""

from __future__ import annotations

from typing import get_args

import pytest
import timm
import torch

from trainers.timm.config import AdvancedConfig, Optimizer, models, read_config
from trainers.timm.parts import check_parts, create_model, create_optimizer, create_schedule

SCHEDULES = get_args(AdvancedConfig.model_fields["sched"].annotation)


def test_timm_has_every_model_of_the_catalogue() -> None:
    known = set(timm.list_models())
    assert {model["architecture"] for model in models().values()} <= known


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(models()))
def test_a_model_takes_the_default_configuration_and_is_as_large_as_is_said(name: str) -> None:
    check_parts(read_config(name, "classification", {}, {}))
    with torch.device("meta"):
        model = timm.create_model(name)
    millions = sum(weights.numel() for weights in model.parameters()) / 1e6
    assert models()[name]["parameters_millions"] == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_an_optimizer_changes_weights(optimizer: str) -> None:
    config = read_config("test_resnet", "classification", {"optimizer": optimizer, "imgsz": 32}, {})
    torch.manual_seed(0)
    model = create_model(config, 2)
    before = [weights.clone() for weights in model.parameters()]
    made = create_optimizer(config, model)
    made.param_groups[0]["lr"] = 0.01
    for _ in range(2):  # ADOPT only looks, the first time
        model(torch.rand(2, 3, 32, 32)).square().sum().backward()
        made.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(bool(torch.isfinite(weights).all()) for weights in model.parameters())


@pytest.mark.parametrize("sched", SCHEDULES)
def test_a_schedule_rises_to_lr0_and_never_beyond(sched: str) -> None:
    advanced = {"sched": sched, "warmup_epochs": 2, "decay_epochs": 4, "cooldown_epochs": 1, "min_lr": 0.001}
    config = read_config("test_resnet", "classification", {"epochs": 10, "lr0": 0.1, "imgsz": 32}, advanced)
    optimizer = create_optimizer(config, create_model(config, 2))
    schedule = create_schedule(config, optimizer, 5)
    rates = []
    for update in range(1, 51):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(update)
    assert rates[0] == pytest.approx(1e-5)
    assert rates[:10] == sorted(rates[:10]) and max(rates) <= 0.1
    assert rates[10] > 0.08
    assert sched == "constant" or rates[-1] < 0.05
