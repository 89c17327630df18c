"""Secrets of this process: what its environment holds under a telling name never reaches the log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

SECRET_NAME: Final = re.compile(r"(^|[_-]|api|access|private)key$|token|passw|secret|credential", re.IGNORECASE)
MASK: Final = "***"
LENGTH_MIN: Final = 6
"""Shorter values are parts of too many words to be masked."""
DEPTH_MAX: Final = 8


class Secrets:
    """The values that are secret, and texts without them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        found: set[str] = set()
        for name, value in environment.items():
            if SECRET_NAME.search(name):
                found.add(value)
            elif "://" in value and (password := _password_of(value)):
                found.update((password, unquote(password)))
        found |= {quote(value, safe="") for value in found}
        # Longest first: one may be part of another.
        self._values = sorted((value for value in found if len(value) >= LENGTH_MIN), key=len, reverse=True)

    def masked(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def masked_all(self, value: Any, depth: int = DEPTH_MAX) -> Any:
        """Every text of a JSON value; what is none is left as it is."""
        if not self._values:
            return value
        if isinstance(value, str):
            return self.masked(value)
        if depth and isinstance(value, Mapping):
            return {self.masked_all(name, 0): self.masked_all(item, depth - 1) for name, item in value.items()}
        if depth and isinstance(value, (list, tuple)):
            return [self.masked_all(item, depth - 1) for item in value]
        if isinstance(value, BaseException):
            return self.masked(str(value))
        return value


def _password_of(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None
