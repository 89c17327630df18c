"""How pictures are dealt out to train, val and test: ``split_strategy`` of a data set or of a job.

    {"type": "ratio", "ratios": {"train": 0.8, "val": 0.2}, "seed": 0}
    {"type": "stratified", "ratios": {"train": 0.7, "val": 0.2, "test": 0.1}, "seed": 7}
    {"type": "k_fold", "folds": 5, "fold": 0, "seed": 0}

The same pictures and strategy give the same splits on every machine: the order is a hash of seed and file name, so it
depends neither on the order of the document nor on a random number generator. What the data set itself calls ``test``
stays there, because results on it are compared between trainings; all other pictures are dealt out anew.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from events.types.dice import SPLITS, DiceImage

FOLDS_MAX: Final = 100
RATIO_TOLERANCE: Final = 1e-6


class InvalidStrategy(ValueError):
    """``problems``: the field below ``split_strategy`` ("" for the whole) and what is wrong with it."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(": ".join(part for part in problem if part) for problem in problems))
        self.problems = problems


def _by_name(ratios: object) -> object:
    """``[0.8, 0.2]`` and ``0.8`` (train's share) mean the same as ``{"train": 0.8, "val": 0.2}``."""
    if isinstance(ratios, float) and 0 < ratios < 1:
        return {"train": ratios, "val": round(1 - ratios, 9)}
    if isinstance(ratios, list) and 2 <= len(ratios) <= len(SPLITS):
        return dict(zip(SPLITS, ratios, strict=False))
    return ratios


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class Ratios(BaseModel):
    """Shares of the pictures that are dealt out; together 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Annotated[Share, Field(gt=0)]
    val: Annotated[Share, Field(gt=0)]
    test: Share = 0.0

    @model_validator(mode="after")
    def _whole(self) -> Ratios:
        total = self.train + self.val + self.test
        if not math.isclose(total, 1, abs_tol=RATIO_TOLERANCE):
            raise ValueError(f"train, val and test are {total:g} together, they must be 1")
        return self


class ByRatio(BaseModel):
    """At random; ``stratified`` each class in the same shares, as far as whole pictures allow.

    A picture with several classes counts for the one that the fewest pictures have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ratio", "stratified"] = "ratio"
    ratios: Annotated[Ratios, BeforeValidator(_by_name), Field(validation_alias=AliasChoices("ratios", "ratio"))] = (
        Ratios(train=0.8, val=0.2)
    )
    seed: Seed = 0


class KFold(BaseModel):
    """Fold number ``fold`` (from 0) of ``folds`` equal parts is val, the others are train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["k_fold"] = "k_fold"
    folds: Annotated[int, Field(ge=2, le=FOLDS_MAX, strict=True)] = 5
    fold: Annotated[int, Field(ge=0, strict=True)] = 0
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> KFold:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is none of 0 to {self.folds - 1}")
        return self


SplitStrategy = ByRatio | KFold
_STRATEGIES: Final[dict[str, type[SplitStrategy]]] = {"ratio": ByRatio, "stratified": ByRatio, "k_fold": KFold}
_NAMES: Final = {"k-fold": "k_fold", "kfold": "k_fold", "random": "ratio"}
"""Other spellings that mean one of the strategies."""
_TYPE_FIELDS: Final = ("type", "name", "method", "strategy")
_OBJECT: Final = TypeAdapter(dict[str, Any])


def parse_strategy(given: object) -> SplitStrategy:
    """Raises InvalidStrategy naming every problem."""
    try:
        fields = dict(_OBJECT.validate_python(given))
    except ValidationError:
        raise InvalidStrategy([("", f"must be an object such as {ByRatio().model_dump()}")]) from None
    named = [field for field in _TYPE_FIELDS if field in fields]
    if len(named) != 1:
        raise InvalidStrategy([("type", f"give one of {', '.join(_STRATEGIES)}")])
    asked = fields.pop(named[0])
    name = _NAMES.get(str(asked).lower(), str(asked).lower())
    if name not in _STRATEGIES:
        raise InvalidStrategy([(named[0], f"{str(asked)[:40]!r} is none of {', '.join(_STRATEGIES)}")])
    try:
        return _STRATEGIES[name].model_validate({**fields, "type": name})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise InvalidStrategy([(".".join(map(str, fault["loc"])), fault["msg"]) for fault in faults]) from None


def split(images: Sequence[DiceImage], strategy: SplitStrategy) -> dict[str, list[DiceImage]]:
    """Every picture in exactly one split, train and val never empty. Raises InvalidStrategy for too few pictures."""
    dealt: dict[str, list[DiceImage]] = {name: [] for name in SPLITS}
    dealt["test"] = [image for image in images if image.split == "test"]
    pool = [image for image in images if image.split != "test"]
    if isinstance(strategy, KFold):
        if len(pool) < strategy.folds:
            raise InvalidStrategy([("folds", f"{len(pool)} pictures cannot be dealt out to {strategy.folds} folds")])
        for position, image in enumerate(_in_order(pool, strategy.seed)):
            dealt["val" if position % strategy.folds == strategy.fold else "train"].append(image)
        return dealt
    counts = _counts(len(pool), strategy.ratios)
    stratum = _stratum_of(pool) if strategy.type == "stratified" else None
    for image, name in zip(_in_order(pool, strategy.seed, stratum), _deal(counts), strict=True):
        dealt[name].append(image)
    return dealt


def _in_order(
    images: Sequence[DiceImage], seed: int, stratum: Callable[[DiceImage], int] | None = None
) -> list[DiceImage]:
    """By stratum, and within one by a hash of seed and file name."""

    def key(image: DiceImage) -> tuple[int, bytes, str, int]:
        digest = hashlib.sha256(f"{seed}:{image.file_name}".encode()).digest()
        return (stratum(image) if stratum else 0, digest, image.split or "", image.id)

    return sorted(images, key=key)


def _stratum_of(images: Sequence[DiceImage]) -> Callable[[DiceImage], int]:
    frequency = Counter(class_id for image in images for class_id in {entry.class_id for entry in image.annotations})

    def stratum(image: DiceImage) -> int:
        classes = {entry.class_id for entry in image.annotations}
        # Pictures without any object are a stratum of their own.
        return min(classes, key=lambda class_id: (frequency[class_id], class_id)) if classes else -1

    return stratum


def _counts(total: int, ratios: Ratios) -> dict[str, int]:
    """Pictures of each split: at least one where a share is asked for, the largest remainders rounded up."""
    shares = {name: share for name, share in ratios.model_dump().items() if share > 0}
    if total < len(shares):
        raise InvalidStrategy([("", f"{total} pictures cannot be dealt out to {', '.join(shares)}")])
    counts = {name: max(1, math.floor(total * share)) for name, share in shares.items()}
    while (missing := total - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        able = [name for name in counts if step > 0 or counts[name] > 1]
        # The one that is furthest from its share in that direction.
        chosen = max(able, key=lambda name: step * (total * shares[name] - counts[name]))
        counts[chosen] += step
    return counts


def _deal(counts: dict[str, int]) -> list[str]:
    """The split of each position, so that every stretch of positions has the same shares as the whole."""
    total, given = sum(counts.values()), dict.fromkeys(counts, 0)
    dealt = []
    for position in range(1, total + 1):
        open_ones = [name for name in counts if given[name] < counts[name]]
        chosen = max(open_ones, key=lambda name: counts[name] * position / total - given[name])
        given[chosen] += 1
        dealt.append(chosen)
    return dealt
