"""Make the environment ``.venv`` from the hash-pinned lists. Runs on the system's Python, standard library only.

A stamp remembers what was installed, so that a second run takes no time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"
REQUIREMENTS = ROOT / "requirements" / "all.txt"
SDK = ROOT / "sdk"
STAMP = ENVIRONMENT / "epochlog-installed"
PYTHON_VERSION = (3, 11)
TRIED = ("cv2", "torch", "torchvision")
# What Debian's slim images lack and the packages' binaries load: name of the shared library, package that has it.
SYSTEM_LIBRARIES = {"libgomp.so.1": "libgomp1", "libatomic.so.1": "libatomic1", "libstdc++.so.6": "libstdc++6"}


def say(text: str) -> None:
    print(f"install: {text}", flush=True)


def fingerprint() -> str:
    digest = hashlib.sha256()
    for path in (BOOTSTRAP, REQUIREMENTS, SDK / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        sys.exit(f"install: this command ended with {done.returncode}: {' '.join(command)}")


def apt_install(packages: list[str], why: str) -> None:
    """Install Debian packages where we may, else say in one line what to install."""
    wanted = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"install: {why}; install it first: apt-get install {wanted}")
    say(f"{why}: installing {wanted}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]):
        if subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode != 0:
            sys.exit(f"install: `{' '.join(command)}` failed; install by hand: {wanted}")


def make_environment() -> None:
    try:
        import ensurepip  # noqa: F401  # its absence is how Debian's missing python3-venv shows
    except ImportError:
        apt_install(["python3-venv"], "Python's venv module is incomplete")
    say(f"making {ENVIRONMENT.name} with Python {sys.version.split()[0]}")
    run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))


def missing_libraries() -> list[str]:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    return [package for library, package in SYSTEM_LIBRARIES.items() if listed and library not in listed]


def main() -> None:
    if sys.version_info[:2] != PYTHON_VERSION:
        sys.exit(f"install: Python {PYTHON_VERSION[0]}.{PYTHON_VERSION[1]} is needed, this is {sys.version.split()[0]}")
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and PYTHON.exists():
        say("up to date")
        return
    began = time.monotonic()
    # pip comes last: without it, an earlier try was interrupted.
    if not (ENVIRONMENT / "bin" / "pip").exists():
        make_environment()
    if missing := missing_libraries():
        apt_install(missing, "shared libraries are missing")
    say("the installer (uv)")
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--require-hashes", "-r", str(BOOTSTRAP))
    uv = str(ENVIRONMENT / "bin" / "uv")
    count = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    say(f"{count} pinned packages, 6.5 GB on disk (torch with its CUDA libraries is most of it)")
    # --no-deps: the list is complete, and OpenCV's GUI build is replaced in it on purpose (DECISIONS.md).
    run(uv, "pip", "install", "--python", str(PYTHON), "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS))
    say("the SDK of this checkout")
    run(uv, "pip", "install", "--quiet", "--python", str(PYTHON), "--no-deps", "--editable", str(SDK))
    say("trying the packages with system dependencies")
    for module in TRIED:
        tried = subprocess.run([str(PYTHON), "-c", f"import {module}"], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            last = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
            sys.exit(f"install: {module} cannot be imported: {last}; a missing .so file is a missing system package")
    STAMP.write_text(wanted)
    say(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
