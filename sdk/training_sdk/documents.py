"""What stands in a record as text: its JSON and its time. Read the same way by the service and by replay."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from training_sdk.wire import METRICS

_BARE_NON_FINITE: Final = re.compile(rb"(?<=[\[:,\s])(NaN|-?Infinity)(?=\s*[,\]}])")


def read_json(value: bytes, topic: str) -> Any:
    """The JSON of a record. Raises ValueError.

    U+0000 becomes U+FFFD in every text: Postgres stores none, and one character must not cost a whole event. On
    ``training.metrics`` a bare NaN, which is no JSON but what every Python ``json.dumps`` writes, is the text "NaN".
    """
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        if topic != METRICS:
            raise
        document = orjson.loads(_BARE_NON_FINITE.sub(rb'"\1"', value))
    return _without_nul(document) if b"\\u0000" in value else document


def _without_nul(document: Any) -> Any:
    if isinstance(document, str):
        return document.replace("\x00", "\ufffd")
    if isinstance(document, dict):
        return {_without_nul(name): _without_nul(value) for name, value in document.items()}
    return [_without_nul(item) for item in document] if isinstance(document, list) else document


def read_time(text: str) -> datetime:
    """RFC 3339 to an aware datetime; without a zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
