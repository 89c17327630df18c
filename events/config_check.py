"""A job's configuration against a JSON Schema: every problem at once, in words for people.

The API asks it when a job is created, a trainer when it starts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from events.config_schema import PARTS
from events.schema_safety import TEXT_LENGTH_MAX, pattern_choices, schema_danger
from events.types.vocabulary import JsonObject

ALIASES: Final[Mapping[str, str]] = {"batch_size": "batch", "learning_rate": "lr0", "image_size": "imgsz"}
PROBLEMS_MAX: Final = 200
VALUE_LENGTH_MAX: Final = 120
STEPS_MAX: Final = 100_000
"""Keywords looked at in one check: about a second. References to references may double them at every level."""
CHOICES_IN_A_STEP: Final = 1_000
KINDS: Final[Mapping[str, str]] = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """``location`` begins with the part: ``("advanced_config", "mosaic")``; names are those that were given."""

    location: tuple[str | int, ...]
    message: str
    value: Any = None

    def __str__(self) -> str:
        return f"{'.'.join(str(step) for step in self.location)}: {self.message}"


def with_canonical_names(config: Any) -> Any:
    """``batch_size`` means ``batch`` and so on; where both stand, the canonical one wins."""
    if not isinstance(config, dict):
        return config
    renamed = {ALIASES[name]: value for name, value in config.items() if name in ALIASES}
    return {**renamed, **{name: value for name, value in config.items() if name not in ALIASES}}


def as_handed_on(config: JsonObject) -> JsonObject:
    """A basic config as a trainer gets it: canonical names; a GPU's number is text, as it is in an environment."""
    canonical: JsonObject = with_canonical_names(config)
    device = canonical.get("device")
    return {**canonical, "device": str(device)} if type(device) is int else canonical


def config_problems(schema: JsonObject, config: JsonObject, advanced: JsonObject) -> list[ConfigProblem]:
    """What is wrong with a job's two parts, in the order of the parts; [] when all is right."""
    given_names = {ALIASES[name]: name for name in config if name in ALIASES and ALIASES[name] not in config}
    given = {"config": as_handed_on(config), "advanced_config": advanced}
    if danger := schema_danger(schema):
        return [ConfigProblem(("config",), f"the model's schema cannot be used: it {danger}")]
    if long_name := next((name for name in _names(given) if len(name) > TEXT_LENGTH_MAX), None):
        message = f"{long_name[:20]}... is longer than {TEXT_LENGTH_MAX} characters, too long for a name"
        return [ConfigProblem(("config" if long_name in set(_names(config)) else "advanced_config",), message)]
    _steps_left.set([STEPS_MAX])
    try:
        # An own, empty registry: a reference to another host is never followed. No dialect: it would be looked up.
        undialected = {name: value for name, value in schema.items() if name != "$schema"}
        errors = list(BoundedValidator(undialected, registry=Registry()).iter_errors(given))
    except Exception as error:  # a schema is data that somebody registered: whatever it does, it ends no process
        return [ConfigProblem(("config",), f"the model's schema cannot be used: {type(error).__name__}")]
    problems = [problem for error in errors for problem in _problems_of(error, schema)]
    renamed = [
        ConfigProblem((found.location[0], given_names[str(found.location[1])], *found.location[2:]), *_rest(found))
        if found.location[:1] == ("config",) and found.location[1:2] and found.location[1] in given_names
        else found
        for found in problems
    ]
    return sorted(renamed, key=lambda found: PARTS.index(str(found.location[0])) if found.location else 0)[
        :PROBLEMS_MAX
    ]


class TooManySteps(Exception):
    """A check that would go on for minutes."""


_steps_left: ContextVar[list[int]] = ContextVar("steps_left")
Keyword = Callable[[Any, Any, Any, Any], Any]


def _bounded(name: str, check: Keyword) -> Keyword:
    def counted(validator: Any, limit: Any, instance: Any, schema: Any) -> Any:
        if name == "pattern" and isinstance(instance, str) and len(instance) > TEXT_LENGTH_MAX:
            return [ValidationError("too long for a pattern")]
        left = _steps_left.get()
        left[0] -= _steps(name, limit, instance)
        if left[0] < 0:
            raise TooManySteps
        return check(validator, limit, instance, schema)

    return counted


def _steps(name: str, limit: Any, instance: Any) -> int:
    if name == "pattern" and isinstance(instance, str):
        return 1 + pattern_choices(limit, len(instance)) * len(instance) // CHOICES_IN_A_STEP
    return 1 + len(instance) ** 2 if name == "uniqueItems" and isinstance(instance, list) else 1


BoundedValidator: Final = extend(  # type: ignore[no-untyped-call]  # the library has no types
    Draft202012Validator, {name: _bounded(name, check) for name, check in Draft202012Validator.VALIDATORS.items()}
)


def _names(given: JsonObject) -> Iterator[str]:
    """Every name in it, at every depth."""
    waiting: list[Any] = [given]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _rest(problem: ConfigProblem) -> tuple[str, Any]:
    return problem.message, problem.value


def _problems_of(error: ValidationError, schema: JsonObject) -> Iterator[ConfigProblem]:
    location = tuple(error.absolute_path)
    limit: Any = error.validator_value
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        part: Any = error.schema
        known = part.get("properties", {})
        for name in sorted(set(error.instance) - set(known)):
            yield ConfigProblem((*location, name), _unknown(name, location, known, schema))
    elif error.validator == "required" and isinstance(error.instance, dict):
        for name in sorted(set(limit) - set(error.instance)):
            yield ConfigProblem((*location, name), "is missing")
    elif error.validator in ("anyOf", "oneOf") and error.context:
        yield from _problems_of_branch(error, schema)
    else:
        yield ConfigProblem(location, _message(error), _shown(error.instance))


def _problems_of_branch(error: ValidationError, schema: JsonObject) -> Iterator[ConfigProblem]:
    """Of several alternatives, the one that was meant: whose type is right, else all types that are allowed."""
    assert error.context is not None
    wrong_type = {sub.schema_path[0] for sub in error.context if sub.validator == "type" and len(sub.path) == 0}
    meant = [sub for sub in error.context if sub.schema_path[0] not in wrong_type]
    if meant:
        first = meant[0].schema_path[0]
        for sub in meant:
            if sub.schema_path[0] == first:
                yield from _problems_of(sub, schema)
        return
    types = [sub.validator_value for sub in error.context if sub.validator == "type"]
    yield ConfigProblem(tuple(error.absolute_path), f"must be {_kinds(types)}", _shown(error.instance))


def _shown(value: Any) -> Any:
    """A value as it may be shown back: numbers and short texts."""
    if isinstance(value, str):
        return value if len(value) <= VALUE_LENGTH_MAX else f"{value[:VALUE_LENGTH_MAX]}..."
    return None if isinstance(value, (dict, list)) else value


def _message(error: ValidationError) -> str:
    limit: Any = error.validator_value
    match error.validator:
        case "type":
            return f"must be {_kinds(limit if isinstance(limit, list) else [limit])}"
        case "minimum":
            return f"must be at least {limit}"
        case "maximum":
            return f"must be at most {limit}"
        case "exclusiveMinimum":
            return f"must be more than {limit}"
        case "exclusiveMaximum":
            return f"must be less than {limit}"
        case "multipleOf":
            return f"must be a multiple of {limit}"
        case "enum":
            meant = did_you_mean(error.instance, [value for value in limit if isinstance(value, str)])
            return f"must be one of {', '.join(_as_written(value) for value in limit)}{meant}"
        case "const":
            return f"must be {_as_written(limit)}"
        case "minLength" | "minItems":
            return f"must have at least {limit} {'characters' if error.validator == 'minLength' else 'entries'}"
        case "maxLength" | "maxItems":
            return f"must have at most {limit} {'characters' if error.validator == 'maxLength' else 'entries'}"
        case "pattern":
            too_long = isinstance(error.instance, str) and len(error.instance) > TEXT_LENGTH_MAX
            return f"must have at most {TEXT_LENGTH_MAX} characters" if too_long else f"must be of the form {limit}"
    return str(error.message)[:300]


def _as_written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _kinds(types: Iterable[Any]) -> str:
    names = [KINDS.get(str(kind), str(kind)) for kind in types]
    return " or ".join(dict.fromkeys(names)) or "something else"


def _unknown(name: str, location: tuple[str | int, ...], known: Mapping[str, Any], schema: JsonObject) -> str:
    if len(location) == 1:
        other = next(part for part in PARTS if part != location[0])
        elsewhere = schema["properties"].get(other, {}).get("properties", {})
        if name in elsewhere or ALIASES.get(name) in elsewhere:
            return f"there is no such parameter here; it belongs into {other}"
    return f"there is no such parameter{did_you_mean(name, known)}"


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(str(name)[:100].lower(), by_lower, 1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
