"""The extra is one: the SDK works without its packages, and says which are missing where they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import training_sdk

PACKAGES = ["pandas", "polars", "pyarrow", "tqdm"]


def run(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(training_sdk.__file__).parent.parent
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)


def test_the_sdk_loads_nothing_of_the_extra() -> None:
    names = ", ".join(f"training_sdk.{name}" for name in ("client", "jobs", "sync", "__main__", "replay"))
    done = run(f"import sys, training_sdk, {names}; print([name for name in {PACKAGES} if name in sys.modules])")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_the_archives_writer_needs_nothing_but_pyarrow() -> None:
    others = ["pandas", "polars", "tqdm"]
    done = run(f"import sys, training_sdk.replay.columns; print([name for name in {others} if name in sys.modules])")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("package", ["polars", "pyarrow", "tqdm"])
def test_what_is_missing_is_said_with_the_command_that_installs_it(package: str) -> None:
    wanted = f'{package}: pip install "training-sdk[analysis]"'
    done = run(f"import sys; sys.modules[{package!r}] = None\nfrom training_sdk.replay import read_events")
    assert done.returncode == 1 and f"ImportError: training_sdk.replay needs {wanted}" in done.stderr
    command = f"import sys; sys.modules[{package!r}] = None\nfrom training_sdk.__main__ import main"
    done = run(f"{command}\nsys.exit(main(['export', '--to', 'x.csv']))")
    assert done.returncode == 1 and f"export needs {wanted}" in done.stderr
