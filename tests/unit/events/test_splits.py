from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.types.dice import DiceAnnotation, DiceImage
from events.types.splits import InvalidStrategy, KFold, parse_strategy, split


def images(classes: list[int | None], *, tests: int = 0) -> list[DiceImage]:
    return [
        DiceImage(
            id=number,
            file_name=f"{number}.png",
            width=8,
            height=8,
            split="test" if number < tests else None,
            annotations=[] if class_id is None else [DiceAnnotation(id=number, class_id=class_id)],
        )
        for number, class_id in enumerate(classes)
    ]


strategies = st.one_of(
    st.builds(
        lambda name, val, test, seed: parse_strategy(
            {"type": name, "ratios": {"train": 1 - val - test, "val": val, "test": test}, "seed": seed}
        ),
        st.sampled_from(["ratio", "stratified"]),
        st.floats(0.01, 0.4),
        st.one_of(st.just(0.0), st.floats(0.01, 0.4)),
        st.integers(0, 1000),
    ),
    st.builds(lambda folds, seed: KFold(folds=folds, fold=folds - 1, seed=seed), st.integers(2, 5), st.integers(0, 9)),
)


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=5, max_size=80), strategies, st.randoms())
def test_every_picture_is_in_one_split_and_the_order_of_the_document_does_not_matter(
    classes: list[int | None], strategy: Any, random: Any
) -> None:
    listed = images(classes)
    dealt = split(listed, strategy)
    assert sorted(image.id for found in dealt.values() for image in found) == [image.id for image in listed]
    assert dealt["train"] and dealt["val"]
    random.shuffle(listed)
    again = split(listed, strategy)
    assert {name: {image.id for image in found} for name, found in again.items()} == {
        name: {image.id for image in found} for name, found in dealt.items()
    }
    if not isinstance(strategy, KFold):
        for name, share in strategy.ratios.model_dump().items():
            # At least one where a share is asked for, else the share as whole pictures.
            assert abs(len(dealt[name]) - share * len(listed)) < 2
        assert bool(dealt["test"]) == bool(strategy.ratios.test)


@given(st.integers(2, 6), st.integers(6, 40), st.integers(0, 99))
def test_each_picture_is_in_val_of_exactly_one_fold(folds: int, count: int, seed: int) -> None:
    listed = images([0] * count)
    vals = [split(listed, KFold(folds=folds, fold=fold, seed=seed))["val"] for fold in range(folds)]
    assert sorted(image.id for val in vals for image in val) == [image.id for image in listed]
    assert max(map(len, vals)) - min(map(len, vals)) <= 1


@given(st.lists(st.integers(10, 60), min_size=2, max_size=4), st.integers(0, 99))
def test_stratified_gives_each_class_its_share(sizes: list[int], seed: int) -> None:
    listed = images([class_id for class_id, size in enumerate(sizes) for _ in range(size)])
    dealt = split(listed, parse_strategy({"type": "stratified", "ratios": [0.7, 0.2, 0.1], "seed": seed}))
    for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        counts = Counter(image.annotations[0].class_id for image in dealt[name])
        for class_id, size in enumerate(sizes):
            assert abs(counts[class_id] - size * share) <= 2


def test_seeds_differ_and_what_is_test_stays_test() -> None:
    listed = images([0] * 40, tests=10)
    first, second = (split(listed, parse_strategy({"type": "ratio", "seed": seed})) for seed in (1, 2))
    assert {image.id for image in first["val"]} != {image.id for image in second["val"]}
    assert [image.id for image in first["test"]] == list(range(10))
    assert (len(first["train"]), len(first["val"])) == (24, 6)


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ("ratio", "", "must be an object"),
        ({}, "type", "give one of ratio, stratified, k_fold"),
        ({"type": "best"}, "type", "'best' is none of ratio, stratified, k_fold"),
        ({"type": "ratio", "ratios": {"train": 0.8, "val": 0.3}}, "ratios", "1.1 together"),
        ({"type": "ratio", "ratios": {"train": 1.2, "val": -0.2}}, "ratios.train", "less than or equal to 1"),
        ({"type": "ratio", "ratios": {"train": 0.8, "holdout": 0.2}}, "ratios.holdout", "not permitted"),
        ({"type": "ratio", "ratios": {"train": float("nan"), "val": 0.2}}, "ratios.train", "finite"),
        ({"type": "ratio", "ratios": [1]}, "ratios", "valid dictionary"),
        ({"type": "stratified", "seed": -1}, "seed", "greater than or equal to 0"),
        ({"type": "stratified", "seed": "x"}, "seed", "integer"),
        ({"type": "k_fold", "folds": 1}, "folds", "greater than or equal to 2"),
        ({"type": "k_fold", "folds": 3, "fold": 3}, "", "fold 3 is none of 0 to 2"),
        ({"type": "k_fold", "ratios": [0.8, 0.2]}, "ratios", "not permitted"),
    ],
)
def test_a_strategy_that_means_nothing_is_refused_by_field(given: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidStrategy) as caught:
        parse_strategy(given)
    assert (field, True) in [(place, words in message) for place, message in caught.value.problems]


def test_other_spellings_mean_the_same() -> None:
    full = {"type": "ratio", "ratios": {"train": 0.7, "val": 0.3, "test": 0.0}, "seed": 0}
    for ratios in ({"train": 0.7, "val": 0.3}, [0.7, 0.3], 0.7):
        assert parse_strategy({"name": "ratio", "ratios": ratios}).model_dump() == full
    assert parse_strategy({"method": "k-fold", "folds": 3}) == parse_strategy({"type": "k_fold", "folds": 3})
