"""The fields of each event type as rows: path, type, unit, whether they must be there, meaning. For people's pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from events.asyncapi import schema_of
from events.glossary import MEANINGS, UNITS, UNITS_BY_ENDING, WRITERS
from events.registry import EventType
from events.topics import TOPICS

NESTED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Field:
    """``path`` leads into objects with dots and into lists with ``[]``; ``unit`` is empty where there is none."""

    path: str
    type: str
    unit: str
    required: bool
    meaning: str


def fields_of(event_type: EventType) -> list[Field]:
    """Every field of the data, those of objects inside them included, in the model's order."""
    schema = schema_of(event_type)
    return list(_fields(event_type.name, schema, schema.get("$defs", {}), "", 0))


def _fields(name: str, schema: dict[str, Any], definitions: dict[str, Any], prefix: str, depth: int) -> Iterator[Field]:
    required = set(schema.get("required", []))
    for key, field in schema.get("properties", {}).items():
        path = prefix + key
        yield Field(
            path, type_text(field, definitions), unit_of(name, path), key in required, meaning_of(name, path, field)
        )
        inner, mark = _object_in(field, definitions)
        if inner is not None and depth < NESTED_MAX:
            yield from _fields(name, inner, definitions, f"{path}{mark}.", depth + 1)


def _object_in(field: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The model that a field holds, one or a list or a map of them, and how a path says so."""
    for option in field.get("anyOf", [field]):
        if "$ref" in option:
            return definitions[option["$ref"].rsplit("/", 1)[-1]], ""
        if "$ref" in option.get("items", {}):
            return definitions[option["items"]["$ref"].rsplit("/", 1)[-1]], "[]"
        values = option.get("additionalProperties")
        if isinstance(values, dict) and "$ref" in values:
            return definitions[values["$ref"].rsplit("/", 1)[-1]], ".*"
    return None, ""


def meaning_of(name: str, path: str, field: dict[str, Any]) -> str:
    """The model's own words, else the glossary's."""
    last = path.rpartition(".")[2]
    own = field.get("description") or MEANINGS.get(f"{name}: {last}") or MEANINGS.get(last, "")
    return str(own)


def writers_of(event_type: EventType) -> str:
    topics = [topic for topic in TOPICS if topic.name in event_type.topics]
    named = ", ".join(dict.fromkeys(writer for topic in topics for writer in topic.written_by))
    return WRITERS.get(event_type.name, named)


def readers_of(event_type: EventType) -> str:
    topics = [topic for topic in TOPICS if topic.name in event_type.topics]
    return ", ".join(dict.fromkeys(reader for topic in topics for reader in topic.read_by)) or "operators"


def unit_of(name: str, path: str) -> str:
    last = path.rpartition(".")[2]
    if (unit := UNITS.get(f"{name}: {last}", UNITS.get(last))) is not None:
        return unit
    return next((unit for ending, unit in UNITS_BY_ENDING if last.endswith(ending)), "")


def type_text(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Null is left out: what may be null need not be there."""
    if "anyOf" in field:
        options = (type_text(one, definitions) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(dict.fromkeys(options))
    if "$ref" in field:
        inner = definitions[field["$ref"].rsplit("/", 1)[-1]]
        return "object" if "properties" in inner else type_text(inner, definitions)
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {type_text(field.get('items', {}), definitions)}"
    values = field.get("additionalProperties")
    if isinstance(values, dict) and values:
        return f"map to {type_text(values, definitions)}"
    if field.get("format") == "date-time":
        return "time (RFC 3339)"
    return str(field.get("type", "any"))
