"""The AsyncAPI 3.0 document of the log, generated from the topic table and the event registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from events.registry import EVENT_TYPES, EventType
from events.topics import PARTITIONS, TOPICS, Topic

EXAMPLES_FOLDER: Final = Path(__file__).parent / "examples"
SCHEMAS_FOLDER: Final = Path(__file__).parent / "schemas"


def example_of(event_type: EventType) -> dict[str, Any]:
    """The golden example: ``{"topic", "key", "headers", "data"}``. Raises FileNotFoundError where there is none."""
    document: dict[str, Any] = json.loads((EXAMPLES_FOLDER / f"{event_type.wire_name}.json").read_text())
    return document


def schema_of(event_type: EventType) -> dict[str, Any]:
    """JSON Schema (2020-12) of the data. An older version's is the one that was written when it was the newest.

    Raises FileNotFoundError when that file is gone.
    """
    if event_type.step is not None:
        kept: dict[str, Any] = json.loads((SCHEMAS_FOLDER / f"{event_type.wire_name}.schema.json").read_text())
        return kept
    schema = event_type.model.model_json_schema(mode="validation", ref_template="#/$defs/{model}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its own definitions put in place: AsyncAPI resolves ``#/`` against the whole document."""
    definitions = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref", "")
            if reference.startswith("#/$defs/"):
                return resolve(definitions[reference.removeprefix("#/$defs/")])
            return {name: resolve(value) for name, value in node.items() if name not in ("$defs", "$schema")}
        return [resolve(item) for item in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved


HEADERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "ce_specversion": ("CloudEvents version", {"const": "1.0"}),
    "ce_id": ("<session>:<topic>:<seq>; the same however often the event is sent again", {}),
    "ce_source": ("who says so", {}),
    "ce_type": ("stable name with version", {}),
    "ce_time": ("when it happened, RFC 3339, the sender's clock", {"format": "date-time"}),
    "ce_subject": ("the key: job id, data set id, ...", {}),
    "content-type": ("of the value", {"const": "application/json"}),
    "ce_attempt": ("attempt of the job, 0 where none exists yet", {"pattern": "^[0-9]+$"}),
    "ce_rank": ("rank of the process under distributed training", {"pattern": "^[0-9]+$"}),
    "ce_session": ("sender process of one job, attempt and rank", {}),
    "ce_seq": ("counts up from 1 per session and topic", {"pattern": "^[1-9][0-9]*$"}),
}


def _message(event_type: EventType) -> dict[str, Any]:
    example = example_of(event_type)
    return {
        "name": event_type.wire_name,
        "title": event_type.name,
        "summary": event_type.description,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": list(HEADERS),
            "properties": {
                name: {"type": "string", "description": text, **extra} for name, (text, extra) in HEADERS.items()
            },
        },
        "payload": _inlined(schema_of(event_type)),
        "examples": [{"name": "golden", "headers": example["headers"], "payload": example["data"]}],
    }


def _channel(topic: Topic) -> dict[str, Any]:
    days = None if topic.retention is None else topic.retention.days
    return {
        "address": topic.name,
        "description": f"{topic.description}; keyed by {topic.key}; "
        + ("kept for ever" if days is None else f"kept {days} days")
        + f"; written by {', '.join(topic.written_by)}; read by {', '.join(topic.read_by) or 'operators'}",
        "messages": {
            event_type.wire_name: {"$ref": f"#/components/messages/{event_type.wire_name}"}
            for event_type in EVENT_TYPES
            if topic.name in event_type.topics
        },
        "bindings": {"kafka": {"topic": topic.name, "partitions": PARTITIONS, "bindingVersion": "0.5.0"}},
    }


def asyncapi_document() -> dict[str, Any]:
    """The whole document, ready for JSON."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "epochlog",
            "version": "1.0.0",
            "description": "The log of training runs: CloudEvents 1.0 in Kafka's binary content mode.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            f"read {topic.name}": {"action": "receive", "channel": {"$ref": f"#/channels/{topic.name}"}}
            for topic in TOPICS
        },
        "components": {"messages": {event_type.wire_name: _message(event_type) for event_type in EVENT_TYPES}},
    }
