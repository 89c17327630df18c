"""Write what is generated from the registry: ``python -m events``. With ``--check`` only say what would change.

A schema that changed under its old version is refused: what is in the log was written by that version. Adding a new
version of the type is the way (events/registry.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from events.asyncapi import SCHEMAS_FOLDER, asyncapi_document, schema_of
from events.catalogue import catalogue
from events.registry import EVENT_TYPES

REMEDY: Final = (
    "register a new version instead: a row for it in events/registry.py, a step for the old one in "
    "training_sdk/upcasters.py, an example in events/examples, and the old example and schema stay"
)
ROOT: Final = Path(__file__).resolve().parent.parent


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def generated_files() -> dict[Path, str]:
    """Path to content of every generated file."""
    files = {SCHEMAS_FOLDER / f"{kind.wire_name}.schema.json": _text(schema_of(kind)) for kind in EVENT_TYPES}
    files[ROOT / "docs" / "events.md"] = catalogue()
    files[ROOT / "docs" / "asyncapi.json"] = _text(asyncapi_document())
    return files


def drifted(files: dict[Path, str]) -> list[Path]:
    return [path for path, content in files.items() if not path.exists() or path.read_text() != content]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m events", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is out of date")
    parser.add_argument(
        "--accept-schema-change",
        action="store_true",
        help="overwrite the schema of an existing version (only before that version was ever written to a log)",
    )
    options = parser.parse_args(arguments)
    files = generated_files()
    out_of_date = drifted(files)
    changed_schemas = [path for path in out_of_date if path.parent == SCHEMAS_FOLDER and path.exists()]
    for path in out_of_date:
        print(f"out of date: {path.relative_to(ROOT)}")
    if changed_schemas and not options.accept_schema_change:
        names = ", ".join(path.name for path in changed_schemas)
        print(f"refused: {names} would change under an old version; {REMEDY}", file=sys.stderr)
        return 1
    if options.check:
        if out_of_date:
            print("run: python -m events", file=sys.stderr)
        return 1 if out_of_date else 0
    for path in out_of_date:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    print(f"{len(files)} files, {len(out_of_date)} written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
