"""Folders of links to a data set's pictures, under names that every framework reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from events.types.dice import DiceImage

NAME_BYTES_MAX: Final = 200
"""Room for a suffix and for what a framework appends; a file system takes 255."""
_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
"""What all frameworks look for. They read by content, so other kinds of pictures may be called png."""


def flat_names(split: str, images: Iterable[DiceImage]) -> dict[int, str]:
    """A name for each picture's id: without folders, and no two with one stem, because the stem names the label file.

    Where two would clash, or one would be too long, all of the split get their id.
    """
    flat = {image.id: image.file_name.removeprefix(f"{split}/").replace("/", "__") for image in images}
    if any(len(name.encode()) > NAME_BYTES_MAX for name in flat.values()):
        flat = {image_id: hashed(name) for image_id, name in flat.items()}
    if len({Path(name).stem for name in flat.values()}) != len(flat):
        flat = {image_id: f"{Path(name).stem}__id{image_id}{Path(name).suffix}" for image_id, name in flat.items()}
    return {image_id: with_known_suffix(name) for image_id, name in flat.items()}


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32] + PurePosixPath(name).suffix[:16]


def with_known_suffix(name: str) -> str:
    return name if PurePosixPath(name).suffix.lower() in _SUFFIXES else f"{PurePosixPath(name).stem}.png"


def link_pictures(folder: Path, names: Mapping[int, str], files: Mapping[int, Path]) -> None:
    """One link for each name, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, name in names.items():
        (folder / name).symlink_to(files[image_id])


def remove_links(folder: Path, pattern: str) -> None:
    """What an earlier conversion linked below ``folder``; pictures of the data set itself are no links of ours."""
    for path in sorted(folder.glob(pattern)):
        if path.is_symlink():
            path.unlink()
