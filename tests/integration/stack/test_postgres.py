from __future__ import annotations

import stat
import tempfile

from stack import postgres
from stack.settings import Settings


def test_a_second_start_finds_the_data_folder_as_postgres_wants_it() -> None:
    # Not tmp_path: pytest closes its folders to the user that Postgres runs as when we are root.
    with tempfile.TemporaryDirectory(prefix="epochlog-tests-", dir="/var/tmp") as folder:
        settings = Settings.from_env({"EPOCHLOG_DATA_DIR": folder})
        for _ in range(2):
            postgres.prepare(settings)
            mode = stat.S_IMODE(postgres.data_folder(settings).stat().st_mode)
            assert mode in (0o700, 0o750), oct(mode)
        assert (postgres.data_folder(settings) / "PG_VERSION").exists()
