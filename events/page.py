"""The contract of the log as a page for people: topics, event types, every field. Generated, without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final

from events.asyncapi import HEADERS, example_of
from events.fields import Field, fields_of, readers_of, writers_of
from events.registry import EVENT_TYPES, EventType
from events.topics import PARTITIONS, TOPICS, Topic

STYLE: Final = Path(__file__).with_suffix(".css").read_text()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may show its own style and nothing else: no scripts, no other host."""
SEVERAL: Final = "On several topics"


@cache
def asyncapi_page() -> str:
    """The whole document. Raises FileNotFoundError for an event type without its golden example."""
    groups = _groups()
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>epochlog: the log</title><style>{STYLE}</style></head><body><div class=layout>",
        _navigation(groups),
        "<main><h1>The log of training runs</h1>",
        "<p>Every record is a CloudEvents 1.0 event in Kafka’s binary content mode: attributes are headers, the value ",
        "is the JSON data, the key says what it is about. A path leads into an object with <code>.</code>, into a ",
        "list with <code>[]</code>, into a map with <code>*</code>; what is not required may be missing or null. The ",
        'same for machines: <a href="asyncapi.json">asyncapi.json</a> (AsyncAPI 3).</p>',
        '<h2 id="topics">Topics</h2>',
        f"<p class=dim>Each has {PARTITIONS} partitions, for ever; a job’s events of one topic lie in one of them.</p>",
        f"<div class=topics>{''.join(_topic(topic) for topic in TOPICS)}</div>",
        '<h2 id="headers">Headers of every event</h2>',
        _table(("header", "meaning"), [(f"<code>{name}</code>", escape(text)) for name, (text, _) in HEADERS.items()]),
    ]
    for title, event_types in groups.items():
        parts.append(f'<h2 id="events-of-{_id(title)}">{escape(title)}</h2>')
        parts += [_event(event_type) for event_type in event_types]
    return "".join([*parts, "</main></div></body></html>"])


def _groups() -> dict[str, list[EventType]]:
    """Event types by their topic, in the registry's order; those of several topics first."""
    groups: dict[str, list[EventType]] = {SEVERAL: [], **{topic.name: [] for topic in TOPICS}}
    for event_type in EVENT_TYPES:
        groups[event_type.topics[0] if len(event_type.topics) == 1 else SEVERAL].append(event_type)
    return groups


def _id(text: str) -> str:
    return text.lower().replace(" ", "-")


def _navigation(groups: dict[str, list[EventType]]) -> str:
    parts = ['<nav aria-label="contents"><a href="#topics"><strong>epochlog</strong></a>']
    for title, event_types in groups.items():
        links = "".join(
            f'<li><a href="#{kind.wire_name}">{escape(kind.wire_name.removeprefix("training."))}</a></li>'
            for kind in event_types
        )
        parts.append(f'<h2><a href="#events-of-{_id(title)}">{escape(title)}</a></h2><ul>{links}</ul>')
    return "".join([*parts, "</nav>"])


def _topic(topic: Topic) -> str:
    kept = "for ever" if topic.retention is None else f"{topic.retention.days} days"
    facts = {
        "Holds": topic.description,
        "Key": topic.key,
        "Kept": kept,
        "Written by": ", ".join(topic.written_by),
        "Read by": ", ".join(topic.read_by) or "operators",
    }
    return f'<section id="{topic.name}"><h3><a href="#{topic.name}">{topic.name}</a></h3>{_facts(facts)}</section>'


def _event(event_type: EventType) -> str:
    name, old = event_type.wire_name, event_type.step is not None
    mark = f" <span class=old>old: read as version {event_type.version + 1}</span>" if old else ""
    topics = ", ".join(f'<a href="#{topic}">{topic}</a>' for topic in event_type.topics)
    facts = {"Written by": "nobody any more" if old else writers_of(event_type), "Read by": readers_of(event_type)}
    example: Any = example_of(event_type)
    shown = {"key": example["key"], "headers": example["headers"], "data": example["data"]}
    text = escape(json.dumps(shown, indent=2, ensure_ascii=False))
    return (
        f'<section id="{name}"><h3><a href="#{name}">{name}</a>{mark}</h3>'
        f"<div>{escape(event_type.description[:1].upper() + event_type.description[1:])}.</div>"
        f"<dl class=facts><dt>Stands on</dt><dd>{topics}</dd>{_pairs(facts)}</dl>"
        f"{_field_table(fields_of(event_type))}"
        f"<details><summary>Example</summary><pre>{text}</pre></details>"
        "</section>"
    )


def _facts(facts: dict[str, str]) -> str:
    return f"<dl class=facts>{_pairs(facts)}</dl>"


def _pairs(facts: dict[str, str]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())


def _field_table(fields: list[Field]) -> str:
    if not fields:
        return "<p class=dim>No data: that it was sent says all.</p>"
    rows = [
        (
            f"<code>{escape(field.path)}</code>" + ("<span class=need>required</span>" if field.required else ""),
            escape(field.type),
            escape(field.unit),
            escape(field.meaning),
        )
        for field in fields
    ]
    return _table(("field", "type", "unit", "meaning"), rows)


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th scope=col>{title}</th>" for title in titles)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-label="{title}">{cell}</td>' if number and cell else f"<td>{cell}</td>"
            for number, (title, cell) in enumerate(zip(titles, row, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
