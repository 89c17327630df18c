"""``/metrics`` for Prometheus."""

from __future__ import annotations

import time
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.context import Api
from api.operations.health import look_around
from api.operations.lag import queries

router = APIRouter(tags=["operations"])

# Every metric name of the API, in one place.
REGISTRY: Final = CollectorRegistry()
REQUEST_SECONDS: Final = Histogram(
    "epochlog_http_request_seconds", "Duration of HTTP requests", ["method", "route", "status"], registry=REGISTRY
)
SOCKETS: Final = Gauge("epochlog_websocket_clients", "WebSocket clients", registry=REGISTRY)
OUTBOX: Final = Gauge("epochlog_outbox_unsent", "Facts that wait for the log", registry=REGISTRY)
DEPENDENCY_UP: Final = Gauge("epochlog_dependency_up", "1 when it answers", ["dependency"], registry=REGISTRY)
LAG: Final = Gauge("epochlog_projection_lag", "Records not applied yet", ["projection"], registry=REGISTRY)
LAG_AGE: Final = Gauge(
    "epochlog_projection_age_seconds", "Age of the last applied record while behind", ["projection"], registry=REGISTRY
)
DEAD_LETTERS: Final = Gauge("epochlog_dead_letters", "Records parked as unreadable", ["projection"], registry=REGISTRY)
WORKER_UP: Final = Gauge(
    "epochlog_worker_up", "1 when a worker of the read model gave a sign of life", ["projection"], registry=REGISTRY
)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def get_metrics(api: Api) -> Response:
    dependencies, lags = await look_around(api)
    SOCKETS.set(api.hub.subscribers)
    for name, state in dependencies.items():
        DEPENDENCY_UP.labels(name).set(state["ok"])
    for lag in lags:
        if lag.lag is not None:
            LAG.labels(lag.projection).set(lag.lag)
        LAG_AGE.labels(lag.projection).set(lag.age_s or 0)
        DEAD_LETTERS.labels(lag.projection).set(lag.dead_letters)
        WORKER_UP.labels(lag.projection).set(lag.worker_alive)
    if dependencies["postgres"]["ok"]:
        async with api.pool.acquire(timeout=3) as connection:
            OUTBOX.set(await queries.outbox_unsent(connection))
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


class RequestTimes:
    """ASGI middleware: how long each request took, by route and status."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            # The route's pattern, never the path: ids would make a series each.
            route = getattr(scope.get("route"), "path", "unmatched")
            REQUEST_SECONDS.labels(scope["method"], route, status).observe(time.perf_counter() - began)
