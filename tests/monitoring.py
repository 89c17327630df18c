"""What the tests of alerts and dashboard share: the real tools, and the names of metrics in expressions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from stack.prometheus_tools import REMEDY, find

FOLDER: Final = Path(__file__).resolve().parent.parent / "stack" / "monitoring"
_NAME: Final = re.compile(r"\bepochlog_\w+")


def tool(name: str) -> str:
    """A program of Prometheus. Fails the test with the remedy where there is none."""
    found = find(name)
    if found is None:
        pytest.fail(f"{name} is not there; `make test` brings it, or: {REMEDY}")
    return found


def expressions() -> dict[str, str]:
    """Every expression of the alerts and of the dashboard, by where it stands."""
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    found = {f"alert {rule['alert']}": str(rule["expr"]) for group in groups for rule in group["rules"]}
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return found


def names_in(expression: str) -> set[str]:
    return set(_NAME.findall(expression))
