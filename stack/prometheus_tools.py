"""Have ``prometheus`` and ``promtool`` for the tests of the alerts.

Where the machine lacks them, Debian's package is unpacked below ``.venv`` and not installed: no daemon comes with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv" / "prometheus"
TOOLS = ("prometheus", "promtool")
REMEDY = "apt-get install prometheus (Debian), or put prometheus and promtool on the PATH"


def find(name: str) -> str | None:
    """The program's path, of the machine's or of what was unpacked."""
    unpacked = FOLDER / "usr" / "bin" / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


def unpack() -> None:
    """Raises CalledProcessError when the package cannot be had."""
    with tempfile.TemporaryDirectory(prefix="epochlog-prometheus-") as folder:
        Path(folder).chmod(0o755)
        if subprocess.run(["apt-get", "download", "-qq", "prometheus"], cwd=folder, check=False).returncode != 0:
            # No list of packages yet: only root may fetch it.
            if os.geteuid() != 0:
                sys.exit(f"prometheus: its package cannot be downloaded; run apt-get update, or: {REMEDY}")
            _quietly("apt-get", "update", "-qq")
            _quietly("apt-get", "download", "-qq", "prometheus", folder=folder)
        (package,) = Path(folder).glob("prometheus_*.deb")
        _quietly("dpkg-deb", "--extract", str(package), str(FOLDER))


def _quietly(*command: str, folder: str | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    if all(find(name) for name in TOOLS):
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        sys.exit(f"prometheus: the tests of the alerts need it: {REMEDY}")
    print(f"prometheus: unpacking Debian's package into {FOLDER.relative_to(ROOT)}", flush=True)
    try:
        unpack()
    except subprocess.CalledProcessError as error:
        sys.exit(f"prometheus: `{' '.join(error.cmd)}` failed; by hand: {REMEDY}")


if __name__ == "__main__":
    main()
