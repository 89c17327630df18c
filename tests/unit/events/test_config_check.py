from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from events.config_check import config_problems
from events.config_schema import PLATFORM_KEYS, general_schema, with_platform_keys

SCHEMA = {
    "type": "object",
    "properties": {
        "config": {
            "type": "object",
            "properties": {
                "imgsz": {"type": "integer", "minimum": 32, "multipleOf": 32},
                "batch": {"type": "integer", "minimum": 1},
                "optimizer": {"enum": ["SGD", "AdamW"]},
                "device": {"anyOf": [{"type": "string", "pattern": r"^\d$"}, {"type": "null"}]},
            },
            "additionalProperties": False,
        },
        "advanced_config": {
            "type": "object",
            "properties": {"mosaic": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}},
            "additionalProperties": False,
        },
    },
}


def texts(config: dict[str, Any], advanced: dict[str, Any] | None = None, schema: Any = SCHEMA) -> list[str]:
    return sorted(str(problem) for problem in config_problems(with_platform_keys(schema), config, advanced or {}))


def test_what_fits_has_no_problem() -> None:
    assert texts({"imgsz": 64, "batch_size": 4, "optimizer": "SGD", "device": 0}, {"mosaic": 1.0}) == []


def test_every_problem_is_told_at_once_in_words_for_people() -> None:
    found = texts(
        {"imgsz": 100, "batch": "8", "optimizer": "adamw", "mosaic": 1.0, "eporchs": 3, "device": [0]},
        {"mosaic": 0, "mosaik": 1, "batch_size": 8},
    )
    assert found == [
        "advanced_config.batch_size: there is no such parameter here; it belongs into config",
        "advanced_config.mosaic: must be more than 0",
        "advanced_config.mosaik: there is no such parameter; did you mean mosaic?",
        "config.batch: must be a whole number",
        "config.device: must be text or null",
        "config.eporchs: there is no such parameter",
        "config.imgsz: must be a multiple of 32",
        "config.mosaic: there is no such parameter here; it belongs into advanced_config",
        "config.optimizer: must be one of SGD, AdamW; did you mean AdamW?",
    ]


def test_a_problem_stands_under_the_name_that_was_given() -> None:
    assert texts({"batch_size": 0}) == ["config.batch_size: must be at least 1"]
    assert texts({"batch_size": 0, "batch": -1}) == ["config.batch: must be at least 1"]


def test_the_platforms_keys_are_known_to_every_schema_and_checked() -> None:
    stopping = {"enabled": True, "metric": "mAP50", "mode": "max", "patience": 3, "min_delta": 0.0, "target": 0.9}
    right = {"early_stopping": stopping, "limits": {"max_seconds": 60}, "max_retries": 0, "primary_metric": "mAP50"}
    assert texts(right) == texts(right, schema=general_schema()) == []
    for schema in (SCHEMA, general_schema(), {}):
        assert texts({"early_stopping": {"patiance": 3}, "max_retries": -1}, schema=schema) == [
            "config.early_stopping.patiance: there is no such parameter; did you mean patience?",
            "config.max_retries: must be at least 0",
        ]
    assert set(with_platform_keys({})["properties"]["config"]["properties"]) == PLATFORM_KEYS


def test_without_a_schema_other_names_may_be_anything() -> None:
    assert texts({"steps": 3, "epochs": 1}, {"free": [1]}, schema=general_schema()) == []
    assert texts({"epochs": 0}, schema=general_schema()) == ["config.epochs: must be at least 1"]


@pytest.mark.parametrize("schema", [SCHEMA, {}], ids=["of a trainer", "empty"])
def test_a_completed_schema_is_a_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(with_platform_keys(schema))


@pytest.mark.parametrize("reference", ["#/$defs/x", "#/nowhere", "https://example.com/a.json", "file:///etc/passwd"])
def test_a_schema_that_cannot_be_used_is_a_problem_and_reaches_no_other_place(reference: str) -> None:
    used = {"config": {"properties": {"x": {"$ref": "#/$defs/x"}}}}
    found = texts({"x": 1}, schema={"properties": used, "$defs": {"x": {"$ref": reference}}})
    assert [text[:40] for text in found] == ["config: the model's schema cannot be use"]
