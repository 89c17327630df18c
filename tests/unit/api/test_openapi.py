"""The API's documentation: every route is described, and what a client sends and gets has an example."""

from __future__ import annotations

from typing import Any

import pytest

from api.app import create_app
from api.settings import Settings

DOCUMENT: dict[str, Any] = create_app(Settings.from_env({})).openapi()
ROUTES = [(path, method, route) for path, routes in DOCUMENT["paths"].items() for method, route in routes.items()]


@pytest.mark.parametrize(("path", "method", "route"), ROUTES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_route_says_what_it_does(path: str, method: str, route: dict[str, Any]) -> None:
    assert route.get("summary")
    assert not route["summary"].lower().startswith(("get ", "post ")), "a summary of its own, not the function's name"


@pytest.mark.parametrize(
    "name",
    [
        *("CreateJob", "ReportStarted", "ReportProgress", "ReportMetrics", "ReportCheckpoint", "ReportCompletion"),
        *("ReportLogs", "NewDataset", "JobAnswer", "CallbackAnswer", "LogAnswer", "Commands", "CommandAnswer"),
        *("History", "SeriesAnswer", "LogPage", "DatasetAnswer", "ModelAnswer", "NewModel"),
    ],
)
def test_what_is_sent_and_answered_has_an_example(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    has_one = "example" in schema or "examples" in schema
    in_a_body = any(
        "example" in route.get("requestBody", {}).get("content", {}).get("application/json", {})
        for _, _, route in ROUTES
    )
    assert has_one or (name == "CreateJob" and in_a_body)
