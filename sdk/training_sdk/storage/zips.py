"""A data set that travels as one zip."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Final

from training_sdk.storage.names import safe_name

ENTRIES_MAX: Final = 2_000_000
# What zipfile raises for hostile bytes; RuntimeError for encryption and unknown compression.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def unpack(archive: Path, folder: Path) -> None:
    """Files and folders only, below ``folder``. Raises ValueError for a zip that is broken or holds anything else.

    No entry becomes larger than the zip says beforehand: zipfile stops there.
    """
    try:
        with zipfile.ZipFile(archive) as package:
            entries = package.infolist()
            if len(entries) > ENTRIES_MAX:
                raise ValueError(f"the zip has {len(entries)} entries, at most {ENTRIES_MAX} are unpacked")
            free = shutil.disk_usage(folder).free
            if (total := sum(entry.file_size for entry in entries)) > free:
                raise ValueError(f"the zip unpacks to {total} bytes, {free} are free")
            for entry in entries:
                safe_name(entry.filename.rstrip("/"))
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise ValueError(f"the zip holds a link: {entry.filename[:120]!r}")
            package.extractall(folder)
    except _BROKEN as error:
        raise ValueError(f"the zip cannot be unpacked: {error}") from error
