"""What series of metrics are called."""

from __future__ import annotations


def series_name(phase: str, key: str) -> str:
    """``train`` and ``loss`` make ``train/loss``; a key that starts with its phase already stays as it is."""
    return key if key.startswith(f"{phase}/") else f"{phase}/{key}"
