"""Where the log ends, as whoever asks for it hands it on."""

from __future__ import annotations

from collections.abc import Mapping

Ends = Mapping[tuple[str, int], int]
"""(topic, partition) to the offset that its next record gets."""
