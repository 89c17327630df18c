from __future__ import annotations

from pathlib import Path

import pytest

from projections.simulation.rule_texts import RuleRefused, rules_of


def test_a_rule_is_read_from_pairs_from_json_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text('[{"patience": 5}, {"target": 0.9, "metric": "mAP50"}]\n')
    found = rules_of(["patience=5,min_delta=0.001,metric=metrics/mAP50(B)", '{"warmup_epochs": 2}', f"@{file}", "own"])
    assert [rule.given for rule in found] == [
        {"patience": 5, "min_delta": 0.001, "metric": "metrics/mAP50(B)"},
        {"warmup_epochs": 2},
        {"patience": 5},
        {"target": 0.9, "metric": "mAP50"},
        None,
    ]
    assert found[0].label == "patience=5,min_delta=0.001,metric=metrics/mAP50(B)"


def test_a_grid_is_every_combination_once() -> None:
    found = rules_of(["patience=3,min_delta=0"], ["patience=3,5", "min_delta=0,0.1"])
    assert [rule.label for rule in found] == [
        "patience=3,min_delta=0",
        "patience=3,min_delta=0.1",
        "patience=5,min_delta=0",
        "patience=5,min_delta=0.1",
    ]


@pytest.mark.parametrize(
    ("texts", "grid", "message"),
    [
        (["patience"], [], "'patience' is not name=value"),
        (["patience=zero"], [], "patience: Input should be a valid integer"),
        (["colour=blue"], [], "colour: Extra inputs.*a rule may hold enabled, metric"),
        (["{"], [], "is not JSON"),
        (["[3]"], [], "neither a JSON object nor a list"),
        ([], ["patience="], "names no values"),
        ([], ["patience=" + ",".join(map(str, range(1, 202)))], "201 rules are more than 200"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(texts: list[str], grid: list[str], message: str) -> None:
    with pytest.raises(RuleRefused, match=message):
        rules_of(texts, grid)


def test_no_text_no_rule() -> None:
    assert rules_of([]) == ()
