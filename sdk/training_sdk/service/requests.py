"""Requests to the API: JSON in, JSON out, and what the service refuses in its own words."""

from __future__ import annotations

import time as clock
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import orjson

from training_sdk.delivery.transport import backoff_s

REQUEST_TIMEOUT_S: Final = 30.0
TRIES: Final = 4
BACKEND_URL_DEFAULT: Final = "http://127.0.0.1:8000/api/v1"
API_PATH: Final = "/api/v1"
CHANGING: Final = ("POST", "PATCH", "PUT")


class ApiError(Exception):
    """The service refused, or could not be reached (``status`` 0).

    ``problems`` are those of its Problem Details: location, message and, where it is short, value of each fault.
    """

    def __init__(self, message: str, status: int = 0, problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = list(problems)


class Service:
    """The API at one address, e.g. ``http://127.0.0.1:8000/api/v1``; a host alone is enough."""

    def __init__(self, url: str | None) -> None:
        """Raises ApiError when that is no http address."""
        given = (url or BACKEND_URL_DEFAULT).rstrip("/")
        parts = urlsplit(given)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ApiError(f"BACKEND_URL is {given[:120]!r}, wanted e.g. {BACKEND_URL_DEFAULT}")
        self.url = given if parts.path else f"{given}{API_PATH}"

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """The JSON answer. A service that is away for a moment is asked again: a change carries an Idempotency-Key, so
        it happens once. Raises ApiError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"{self.url}/{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if method in CHANGING:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        data = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        for number in range(1, TRIES + 1):
            call = urllib.request.Request(url, data=data, headers=headers, method=method)
            try:
                with urllib.request.urlopen(call, timeout=REQUEST_TIMEOUT_S) as response:
                    return orjson.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                with error:
                    refusal = _refusal(method, path, error.code, error.read(1024 * 1024))
                if refusal.status != 503 or number == TRIES:
                    raise refusal from None
            except (OSError, ValueError) as error:
                if number == TRIES:
                    raise ApiError(f"{method} {url}: the service cannot be reached: {error}") from error
            clock.sleep(backoff_s(number))
        raise AssertionError("the last try returns or raises")


def _refusal(method: str, path: str, status: int, body: bytes) -> ApiError:
    """The Problem Details (RFC 9457) of an answer, in words."""
    try:
        document = orjson.loads(body)
        detail, problems = str(document["detail"]), list(document.get("problems") or [])
    except (ValueError, TypeError, KeyError):
        return ApiError(f"{method} {path}: {status} {body[:200]!r}", status)
    said = [f"{'/'.join(map(str, problem.get('location', ())))}: {problem.get('message')}" for problem in problems]
    lines = [f"{method} {path}: {status} {detail}", *(line for line in said if line not in detail)]
    return ApiError("\n  ".join(lines), status, problems)
