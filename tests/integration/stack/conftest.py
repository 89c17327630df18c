from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.control import down
from stack.settings import PORT_SETTINGS, Settings
from tests.services import ADDRESSES, free_port


@pytest.fixture
def own_environment() -> Iterator[dict[str, str]]:
    """Free ports and a data folder for a stack of the test's own; what still runs at the end is stopped."""
    with tempfile.TemporaryDirectory(prefix="epochlog-tests-", dir="/var/tmp") as folder:
        # Not tmp_path: Postgres runs under another user when we are root, and must be able to walk in.
        Path(folder).chmod(0o755)
        kept = {name: text for name, text in os.environ.items() if name not in ADDRESSES and not name.startswith("EPO")}
        ports = {variable: str(free_port()) for variable, _ in PORT_SETTINGS.values()}
        environment = {**kept, **ports, "EPOCHLOG_DATA_DIR": folder}
        yield environment
        down(Settings.from_env(environment))
