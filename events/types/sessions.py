"""Sender sessions: who writes from where, and up to which number it wrote."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Epoch, Fact, JsonObject, Step, Text


class SessionOpened(Fact):
    """First event (seq 1) of a session on each topic, so that a fold of one topic knows all it needs."""

    sender: Text = Field(description="sdk, outbox, supervisor or launcher")
    hostname: Text | None = None
    pid: int | None = None
    resume_step: Step | None = Field(default=None, description="first step that this attempt writes again")
    resume_epoch: Epoch | None = Field(
        default=None, description="epochs done before this attempt: 0 begins anew, null was not said"
    )
    total_epochs: Epoch | None = None
    early_stopping: JsonObject | None = Field(default=None, description="kept as given; each rule parses its part")


class SessionClosed(Fact):
    """Last word about a session: with it, it can be proved that the log holds all of it."""

    session: Text
    last_seq: dict[str, int] = Field(description="highest seq per topic, this event's own included")
    closed_by: Text = Field(description="sdk, supervisor or reaper")


class EventsDropped(Fact):
    """The sender had to leave something out: named, never silent."""

    topic: Text
    from_seq: int | None = None
    to_seq: int | None = None
    count: int = Field(ge=0, description="calls or lines that were dropped")
    reason: Text
