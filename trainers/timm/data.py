"""Pictures in folders by class to batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from torch.utils.data import DataLoader, DistributedSampler, Sampler
from torchvision.datasets import ImageFolder

from trainers.converters.reading import InvalidDataset
from trainers.timm.config import TimmConfig

if TYPE_CHECKING:
    from trainers.timm.ranks import Ranks

BATCH_MIN: Final = 2
"""Batch norm has no variance of one picture."""


class EveryNth(Sampler[int]):
    """A rank's share of the validation: no picture twice, so that sums over all ranks are exact."""

    def __init__(self, length: int, ranks: Ranks) -> None:
        self.indices = range(ranks.rank, length, ranks.count)

    def __iter__(self) -> Any:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class Loaders:
    """``batch`` is what one process trains with at a time; ``pictures`` are those of ``val``."""

    train: DataLoader[Any]
    val: DataLoader[Any]
    sampler: DistributedSampler[Any]
    pictures: Any
    batch: int


def load(folder: Path, class_folders: list[str], config: TimmConfig, ranks: Ranks, normal: dict[str, Any]) -> Loaders:
    """Loaders of ``folder/train`` and ``folder/val``. ``normal`` is what timm resolved for the model.

    As in timm's own training the last batch of an epoch is left out when it is not full. Raises InvalidDataset.
    """
    # A class may have no picture in one of the splits; its folder is there, so that all count the classes alike.
    training = ImageFolder(str(folder / "train"), train_transform(config, normal), allow_empty=True)
    validation = ImageFolder(str(folder / "val"), val_transform(config, normal), allow_empty=True)
    assert training.classes == validation.classes == class_folders
    # Of one rank too: its order follows from the seed and the epoch alone, so a resumed epoch sees the same batches.
    sampler: DistributedSampler[Any] = DistributedSampler(
        training, num_replicas=ranks.count, rank=ranks.rank, shuffle=True, seed=config.basic.seed
    )
    batch = min(config.basic.batch // ranks.count, len(sampler))
    if config.mixes:
        batch -= batch % 2
    if batch < BATCH_MIN:
        raise InvalidDataset(
            f"{len(training)} pictures in train are too few for {ranks.count} processes; "
            f"each needs at least {BATCH_MIN}"
        )
    shared: dict[str, Any] = {"num_workers": config.basic.workers, "pin_memory": ranks.device.type == "cuda"}
    return Loaders(
        train=DataLoader(training, batch, sampler=sampler, drop_last=True, **shared),
        val=DataLoader(validation, batch, sampler=EveryNth(len(validation), ranks), **shared),
        sampler=sampler,
        pictures=validation,
        batch=batch,
    )


def train_transform(config: TimmConfig, normal: dict[str, Any]) -> Any:
    from timm.data import create_transform

    advanced = config.advanced
    return create_transform(
        normal["input_size"],
        is_training=True,
        no_aug=not config.basic.augment,
        scale=advanced.scale,
        ratio=advanced.ratio,
        hflip=advanced.hflip,
        vflip=advanced.vflip,
        color_jitter=advanced.color_jitter,
        auto_augment=advanced.aa,
        re_prob=advanced.reprob if config.basic.augment else 0.0,
        re_mode=advanced.remode,
        re_count=advanced.recount,
        interpolation="random" if config.basic.augment else normal["interpolation"],
        mean=normal["mean"],
        std=normal["std"],
    )


def val_transform(config: TimmConfig, normal: dict[str, Any]) -> Any:
    from timm.data import create_transform

    return create_transform(
        normal["input_size"],
        is_training=False,
        interpolation=normal["interpolation"],
        mean=normal["mean"],
        std=normal["std"],
        crop_pct=config.advanced.crop_pct or normal["crop_pct"],
    )
