"""Through the API, where Kafka is out of reach: the same events, in batches."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from training_sdk.delivery.background import in_thread
from training_sdk.delivery.transport import TransportError
from training_sdk.wire import WireEvent

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""The API takes 8 MB."""
REQUEST_TIMEOUT_S: Final = 15.0
GONE: Final = 410
"""Of a purged job nobody takes anything any more: what waits in the spool until it is taken would wait for ever."""
ANSWER_BYTES_MAX: Final = 1024 * 1024
logger = logging.getLogger("training_sdk")


class HttpTransport:
    """POST {backend_url}/training/jobs/{id}/events; answered 200 after Kafka's acknowledgement."""

    def __init__(self, backend_url: str, on_answer: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self._backend_url = backend_url.rstrip("/")
        self._on_answer = on_answer

    async def send(self, events: Sequence[WireEvent]) -> None:
        batch: list[bytes] = []
        size = 0
        for event in events:
            encoded = _encoded(event)
            if batch and size + len(encoded) > BODY_BYTES_MAX:
                await self._post(events[0].key, batch)
                batch, size = [], 0
            batch.append(encoded)
            size += len(encoded)
        if batch:
            await self._post(events[0].key, batch)

    async def _post(self, key: str, batch: Sequence[bytes]) -> None:
        url = f"{self._backend_url}/training/jobs/{key}/events"
        body = b'{"events":[' + b",".join(batch) + b"]}"
        try:
            answer = await in_thread(lambda: request(url, body))
        except urllib.error.HTTPError as error:
            if error.code != GONE:
                raise TransportError(f"POST {url}: {_words(error)}") from error
            error.close()
            logger.warning("job %s was purged: %d events are dropped, and not kept here either", key, len(batch))
            return
        except (OSError, ValueError) as error:
            raise TransportError(f"POST {url}: {_words(error)}") from error
        if answer.get("received") != len(batch):
            raise TransportError(f"POST {url}: sent {len(batch)} events, the answer is {answer!r:.200}")
        if self._on_answer is not None:
            self._on_answer(answer)

    async def close(self) -> None:
        """Nothing to let go of: each request has a connection of its own."""


def request(url: str, body: bytes | None = None, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
    """GET, or POST with a JSON body; the answer's JSON object. Raises OSError (no 2xx, no connection) or ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no http address")
    call = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=timeout_s) as response:
        document = orjson.loads(response.read(ANSWER_BYTES_MAX))
    if not isinstance(document, dict):
        raise ValueError(f"the answer is no JSON object: {document!r:.100}")
    return document


def _encoded(event: WireEvent) -> bytes:
    return orjson.dumps(
        {
            "topic": event.topic,
            "key": event.key,
            "type": event.type,
            "time": event.time,
            "source": event.source,
            "attempt": event.attempt,
            "rank": event.rank,
            "session": event.session,
            "seq": event.seq,
            "data": orjson.Fragment(event.data),
        }
    )


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        with error:
            return f"{error.code} {error.read(500)!r}"
    return str(error)
