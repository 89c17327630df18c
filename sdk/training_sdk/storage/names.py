"""Names out of a store or an archive, which somebody else chose."""

from __future__ import annotations

from pathlib import PurePosixPath


def safe_name(name: str) -> str:
    """A relative path that stays below its folder. Raises ValueError for any other."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or "\\" in name
        or "\x00" in name
        or any(part in ("..", ".") for part in parts)
    ):
        raise ValueError(f"the name {name[:120]!r} leads out of the data set's folder")
    return "/".join(parts)
