"""No registered schema holds the interpreter: dangerous ones are refused, and a check of the others is bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest

from events.config_check import STEPS_MAX, config_problems
from events.schema_safety import DEPTH_MAX, pattern_danger, schema_danger
from trainers.catalogue import FRAMEWORKS, offered_models


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^(a+)+$", "repeats a group that holds"),
        ("^(?:a|a)*$", "repeats a group that holds"),
        ("^((a{1,9})){2,}$", "repeats a group that holds"),
        ("^((ab)?c)*$", "repeats a group that holds"),
        (r"^(\d\d+)*$", "repeats a group that holds"),
        (r"^(,[\w,]+)*$", "repeats a group that holds"),
        (r"^(_\w+)*$", "repeats a group that holds"),
        ("^a*a*a*a*b$", "too many repetitions"),
        ("a?" * 40 + "a" * 40, "too many repetitions"),
        ("(a|a)" * 40, "too many repetitions"),
        (r"^(a*)\1$", "back-reference"),
        ("^(?=(a+))$", "look-around"),
        ("(?:){999999999}", "more than 1000 times"),
        ("a" * 201, "longer than 200"),
        ("(a", "is no regular expression"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_pattern_that_may_go_on_for_ever_is_refused(pattern: str, said: str) -> None:
    assert said in (pattern_danger(pattern) or "")
    nodes: list[dict[str, Any]] = [{"pattern": pattern}, {"patternProperties": {pattern: {}}}]
    for node in nodes:
        schema = {"properties": {"config": {"properties": {"x": {"anyOf": [node]}}}}}
        assert said in (schema_danger(schema) or "")
        # Also one that stands in the log already.
        (problem,) = config_problems(schema, {"x": "a" * 40 + "b"}, {})
        assert problem.message.startswith("the model's schema cannot be used: it has the pattern")


@pytest.mark.parametrize("pattern", [r"^\d$", "^(sgd|adam)$", r"^[a-z]+(-[a-z]+)*$", r"^v\d+\.\d+$", r"^[\](+]{2,9}?$"])
def test_a_pattern_that_ends_is_accepted(pattern: str) -> None:
    assert pattern_danger(pattern) is None


@pytest.mark.parametrize("framework", [found for found in FRAMEWORKS.values() if found.config], ids=lambda f: f.name)
def test_our_own_trainers_patterns_are_accepted(framework: Any) -> None:
    for model in offered_models(framework):
        assert schema_danger(model["config_schema"]) is None


def test_what_is_too_large_or_changes_the_rules_inside_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_MAX + 1):
        deep = {"not": deep}
    assert "nested deeper" in (schema_danger(deep) or "")
    assert "more than 20000 parts" in (schema_danger({"enum": list(range(20_000))}) or "")
    assert "more than 500 references" in (schema_danger({"allOf": [{"$ref": "#"}] * 501}) or "")
    assert "dialect" in (schema_danger({"properties": {"x": {"$schema": "http://json-schema.org/schema#"}}}) or "")


def test_a_check_ends_although_references_double_at_every_level() -> None:
    levels = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    schema = {"properties": {"config": {"$ref": "#/$defs/d0"}}, "$defs": {**levels, "d30": {}}}
    assert schema_danger(schema) is None and STEPS_MAX < 2**30
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    began = time.monotonic()
    assert [str(found) for found in config_problems({**dialect, **schema}, {}, {})] == [
        "config: the model's schema cannot be used: TooManySteps"
    ]
    assert time.monotonic() - began < 30


def test_a_long_text_meets_no_pattern() -> None:
    schema = {"properties": {"config": {"patternProperties": {"^x": {"pattern": "^a*a*$"}}}}}
    assert config_problems(schema, {"x": "a" * 200}, {}) == []
    assert [str(found) for found in config_problems(schema, {"x": "a" * 201}, {})] == [
        "config.x: must have at most 200 characters"
    ]
    (problem,) = config_problems(schema, {}, {"inside": [{"x" * 201: 1}]})
    assert problem.location == ("advanced_config",) and "too long for a name" in problem.message
