"""Rules as people write them on a command line: ``patience=5,min_delta=0.001``, JSON, ``@file``, or a grid. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from events.early_stopping import EarlyStopping
from events.types.vocabulary import JsonObject

OWN: Final = "own"
RULES_MAX: Final = 200


class RuleRefused(ValueError):
    """A text that is no rule; ``str()`` says which and why."""


@dataclass(frozen=True, slots=True)
class RuleText:
    """``given`` is what ``config["early_stopping"]`` of a job would hold; None: each run's own settings."""

    label: str
    given: JsonObject | None


def rules_of(texts: Iterable[str], grid: Iterable[str] = ()) -> tuple[RuleText, ...]:
    """The rules that the texts and every combination of the grid name, each once, in their order.

    Raises RuleRefused, and OSError for a file that cannot be read.
    """
    found: dict[str, RuleText] = {}
    for given in itertools.chain(*(_documents(text) for text in texts), _combinations(list(grid))):
        rule = RuleText(OWN, None) if given is None else _rule(given)
        found.setdefault(rule.label, rule)
    if len(found) > RULES_MAX:
        raise RuleRefused(f"{len(found)} rules are more than {RULES_MAX}; give a smaller grid")
    return tuple(found.values())


def _rule(given: JsonObject) -> RuleText:
    label = ",".join(f"{name}={_text(value)}" for name, value in given.items()) or "defaults"
    try:
        EarlyStopping.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        names = ", ".join(EarlyStopping.model_fields)
        raise RuleRefused(f"rule {label!r} is refused: {problems}; a rule may hold {names}") from error
    return RuleText(label, given)


def _documents(text: str) -> list[JsonObject | None]:
    if text == OWN:
        return [None]
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            return _documents(file.read().strip())
    if not text.startswith(("{", "[")):
        return [dict(_pair(part) for part in text.split(",") if part)]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RuleRefused(f"rule {text[:80]!r} is not JSON: {error}") from error
    documents = document if isinstance(document, list) else [document]
    if not all(isinstance(one, dict) for one in documents):
        raise RuleRefused(f"rule {text[:80]!r} is neither a JSON object nor a list of them")
    return documents


def _combinations(grid: list[str]) -> list[JsonObject]:
    """``patience=3,5`` and ``min_delta=0,0.1`` are four rules."""
    columns = []
    for text in grid:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise RuleRefused(f"grid {text!r} names no values; write it as patience=3,5,10")
        columns.append([(name, _value(value)) for value in values.split(",")])
    return [dict(row) for row in itertools.product(*columns)] if columns else []


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RuleRefused(f"rule part {text!r} is not name=value; write patience=5,min_delta=0.001, JSON or @file")
    return name.strip(), _value(value.strip())


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
