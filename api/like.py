"""Texts of clients as parts of LIKE patterns."""

from __future__ import annotations


def like_text(text: str | None) -> str | None:
    """A text as part of a LIKE pattern: its own wildcards mean themselves."""
    if text is None:
        return None
    return text.replace("\x00", "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
