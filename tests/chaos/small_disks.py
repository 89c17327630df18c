"""Disks that a test can fill: small file systems in memory, mounted where a service keeps its data."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BALLAST = "ballast"
PIECE = b"\0" * 65_536


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Skips the test where the machine does not allow it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk needs root and the right to mount a tmpfs; mount said: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that has just been killed may hold it for a moment.
        subprocess.run(["umount", "--lazy", str(folder)], timeout=30, check=True)


def fill(folder: Path) -> None:
    """Somebody else takes all the room that is left."""
    with (folder / BALLAST).open("ab", buffering=0) as ballast:
        for piece in (PIECE, PIECE[:4096], PIECE[:1]):
            while True:
                try:
                    ballast.write(piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break


def free(folder: Path) -> None:
    (folder / BALLAST).unlink()
