"""The catalogue for people: complete, and a page that asks nobody for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from html.parser import HTMLParser

import pytest

from events.asyncapi import asyncapi_document
from events.catalogue import catalogue
from events.fields import fields_of
from events.glossary import WRITERS
from events.page import CONTENT_SECURITY_POLICY, STYLE, asyncapi_page
from events.registry import EVENT_TYPES, EventType
from events.topics import TOPICS

VOID = {"meta"}
markdown = functools.cache(catalogue)


class Page(HTMLParser):
    """Tags that are open, ids, and every address that the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name != "style", f"{name} of {tag} would not be let through"
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> Page:
    read = Page()
    read.feed(asyncapi_page())
    read.close()
    return read


def test_the_page_is_whole_has_no_scripts_and_asks_no_other_host(page: Page) -> None:
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe", "form", "object"}
    assert len(page.ids) == len(set(page.ids))
    for address in page.addresses:
        assert address == "asyncapi.json" or address.removeprefix("#") in page.ids, address
    assert "url(" not in STYLE and "@import" not in STYLE
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert f"<style>{STYLE}</style>" in asyncapi_page()


def test_every_topic_and_event_type_has_its_place(page: Page) -> None:
    assert {topic.name for topic in TOPICS} | {kind.wire_name for kind in EVENT_TYPES} <= set(page.ids)


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda event_type: event_type.wire_name)
def test_every_field_says_what_it_means(event_type: EventType) -> None:
    shown, written = asyncapi_page(), markdown()
    for field in fields_of(event_type):
        assert field.meaning, (
            f"{field.path} of {event_type.wire_name}: describe it in its model or in events/glossary.py"
        )
        assert f"<code>{field.path}</code>" in shown
        assert f"| `{field.path}` | {field.type} | {field.unit} |" in written


def test_units_come_from_the_name_or_the_glossary() -> None:
    units = {
        (kind.name, field.path): field.unit for kind in EVENT_TYPES for field in fields_of(kind) if kind.step is None
    }
    assert units["training.progress.reported", "eta_seconds"] == "s"
    assert units["training.system.sampled", "gpus[].power_watts"] == "W"
    assert units["training.metrics.reported", "times"] == "Unix seconds"
    assert units["training.job.completed", "training_results.gpu_hours"] == "GPU hours"
    assert units["training.log.written", "lines[].message"] == ""


def test_no_writer_is_named_for_a_type_that_does_not_exist() -> None:
    assert set(WRITERS) <= {kind.name for kind in EVENT_TYPES}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi_document()
    references = re.findall(r"'\$ref': '([^']+)'", repr(document))
    assert references
    for reference in references:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    for name, message in document["components"]["messages"].items():
        assert message["name"] == name
        assert message["examples"][0]["headers"]["ce_type"] == name
        assert set(message["headers"]["required"]) == set(message["headers"]["properties"])
