"""What the page is built from is pinned by hashes and names no host."""

from __future__ import annotations

import json
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent.parent / "dashboard" / "package-lock.json"


def test_the_lock_file_has_a_hash_of_every_package_and_no_address() -> None:
    text = LOCK.read_text()
    assert "://" not in text, "set omit-lockfile-registry-resolved=true, and take the keys `funding` out"
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert packages and all(one["integrity"].startswith("sha512-") for one in packages.values())
