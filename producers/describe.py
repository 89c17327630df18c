"""What people call a job: name, description, tags and notes, changed at any time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, StringConstraints

from events.job import Job
from events.types.jobs import JobDescribed
from events.types.vocabulary import LOG_MESSAGE_LENGTH_MAX, Text, storable
from producers.callbacks import Body, example

TAGS_MAX: Final = 50
TAG_LENGTH_MAX: Final = 64


def _unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _tag(tag: str) -> str:
    if not tag.isprintable():
        raise ValueError("a tag has no control characters")
    return tag


Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TAG_LENGTH_MAX),
    AfterValidator(_tag),
]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX), AfterValidator(_unique)]
Notes = Annotated[str, Field(max_length=LOG_MESSAGE_LENGTH_MAX), AfterValidator(storable)]


class DescribeJob(Body):
    """Fields that are not sent stay as they are; null takes one away. ``tags`` replaces all of them."""

    model_config = example({"name": "Vehicle Detection v2", "tags": ["baseline", "night"], "notes": "lr too high"})

    name: Text | None = None
    description: Text | None = None
    tags: Tags | None = None
    notes: Notes | None = None
    requested_by: Text = "api"


def changes(job: Job, command: DescribeJob) -> JobDescribed | None:
    """The fact, with what differs from the job as it is; None where nothing does."""
    said = {name: getattr(command, name) for name in command.model_fields_set & set(_EMPTY)}
    wanted = {name: _EMPTY[name] if value is None else value for name, value in said.items()}
    new = {name: value for name, value in wanted.items() if value != (getattr(job, name) or _EMPTY[name])}
    return JobDescribed.model_validate({**new, "requested_by": command.requested_by}) if new else None


def first_description(tags: Sequence[str], notes: str | None) -> list[JobDescribed]:
    """Tags and notes that come with a job's creation: what it was created with stands in another event."""
    if not tags and not notes:
        return []
    return [JobDescribed(tags=list(tags) or None, notes=notes or None, requested_by="api")]


_EMPTY: Final[dict[str, Any]] = {"name": "", "description": "", "tags": [], "notes": ""}
