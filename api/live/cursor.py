"""Where a client stands in one job's part of the log: next offset of each topic, and which numbers it has seen."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from api.live.messages import LIVE_TOPICS, Update
from events.dedupe import SessionMarks


class BadCursor(ValueError):
    """The text is no cursor of this job."""


@dataclass(slots=True)
class Cursor:
    """Advances with each update; encoded, it is what ``after=`` takes."""

    job_id: int
    offsets: dict[str, int] = field(default_factory=dict)
    marks: dict[tuple[str, str], SessionMarks] = field(default_factory=dict)
    """(topic, session) to what was seen."""

    def accept(self, update: Update) -> bool:
        """Whether the update is new here; remembers it."""
        topic = update.position.topic
        if update.position.offset < self.offsets.get(topic, 0):
            return False
        self.offsets[topic] = update.position.offset + 1
        marks, new = self.marks.get((topic, update.session), SessionMarks()).accept(update.seq)
        self.marks[topic, update.session] = marks
        return new

    def encode(self) -> bytes:
        document = {
            "j": self.job_id,
            "o": [self.offsets.get(topic, 0) for topic in LIVE_TOPICS],
            "m": [
                [LIVE_TOPICS.index(topic), session, marks.high, marks.gaps]
                for (topic, session), marks in self.marks.items()
            ],
        }
        return base64.urlsafe_b64encode(orjson.dumps(document))

    @classmethod
    def decode(cls, text: str, job_id: int) -> Cursor:
        """Raises BadCursor."""
        try:
            document: Any = orjson.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            offsets = {topic: int(offset) for topic, offset in zip(LIVE_TOPICS, document["o"], strict=True)}
            marks = {
                (LIVE_TOPICS[int(topic)], str(session)): SessionMarks(
                    int(high), tuple((int(low), int(last)) for low, last in gaps)
                )
                for topic, session, high, gaps in document["m"]
            }
            found = cls(int(document["j"]), offsets, marks)
        except (binascii.Error, UnicodeEncodeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise BadCursor("this is not a cursor that a frame carried") from error
        if found.job_id != job_id or any(offset < 0 for offset in offsets.values()):
            raise BadCursor(f"the cursor belongs to job {found.job_id}, not to job {job_id}")
        return found
