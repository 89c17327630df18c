"""``/metrics`` for Prometheus. What is not known is left out rather than told as it last was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.context import Api
from api.operations.archive import ArchiveAnswer, read_archive
from api.operations.health import look_around
from api.operations.lag import Lag, queries

router = APIRouter(tags=["operations"])

# Of this process, counted as it goes.
REGISTRY: Final = CollectorRegistry()
REQUEST_SECONDS: Final = Histogram(
    "epochlog_http_request_seconds", "Duration of HTTP requests", ["method", "route", "status"], registry=REGISTRY
)
SOCKETS: Final = Gauge("epochlog_websocket_clients", "WebSocket clients", registry=REGISTRY)
STREAMS: Final = Gauge("epochlog_event_streams", "Clients of server-sent events", registry=REGISTRY)

# Of each read model, looked up for every answer. A counter's samples end in _total.
PER_READ_MODEL: Final = (
    # name                                   kind                 field of Lag               meaning
    ("epochlog_projection_lag", GaugeMetricFamily, "lag", "Records not applied yet"),
    (
        "epochlog_projection_oldest_unapplied_seconds",
        GaugeMetricFamily,
        "oldest_unapplied_age_s",
        "Since the log took the first record that is not applied; 0 where all is",
    ),
    ("epochlog_projection_applied_events", CounterMetricFamily, "applied_events", "Events applied by the live version"),
    ("epochlog_dead_letters", GaugeMetricFamily, "dead_letters", "Dead letters that nobody decided about"),
    ("epochlog_projection_builds_running", GaugeMetricFamily, "builds_running", "Versions that are being built"),
    ("epochlog_worker_up", GaugeMetricFamily, "worker_alive", "1 when a worker of the read model gave a sign of life"),
)

PER_ARCHIVED_TOPIC: Final = (
    # name                     field        meaning
    ("epochlog_archive_lag", "lag", "Records of the log that are not archived yet"),
    ("epochlog_archive_lost", "lost", "Offsets that the log dropped before they were archived"),
    ("epochlog_archive_unchecked", "unchecked", "Archived offsets behind those that a check found whole"),
)


class Snapshot:
    """A collector of one answer."""

    def __init__(
        self,
        dependencies: Mapping[str, Any],
        lags: Iterable[Lag],
        outbox: tuple[int, float] | None,
        archive: ArchiveAnswer | None,
    ) -> None:
        self._archive = archive
        self._dependencies = dependencies
        self._lags = list(lags)
        self._outbox = outbox

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("epochlog_dependency_up", "1 when it answers", labels=["dependency"])
        for name, state in self._dependencies.items():
            up.add_metric([name], float(state["ok"]))
        yield up
        if self._outbox is not None:
            unsent, oldest_s = self._outbox
            yield GaugeMetricFamily("epochlog_outbox_unsent", "Facts that wait for the log", value=unsent)
            yield GaugeMetricFamily(
                "epochlog_outbox_oldest_unsent_seconds",
                "Since the first fact that waits for the log was accepted; 0 where none does",
                value=oldest_s,
            )
        if self._archive is not None:
            yield GaugeMetricFamily(
                "epochlog_archive_worker_up",
                "1 when the archiver gave a sign of life",
                value=float(self._archive.worker_alive),
            )
            for name, field, meaning in PER_ARCHIVED_TOPIC:
                gauge = GaugeMetricFamily(name, meaning, labels=["topic"])
                for topic in self._archive.topics:
                    if (value := getattr(topic, field)) is not None:
                        gauge.add_metric([topic.topic], float(value))
                yield gauge
        for name, family, field, meaning in PER_READ_MODEL:
            metric = family(name, meaning, labels=["projection"])
            for lag in self._lags:
                value = getattr(lag, field)
                if value is not None:
                    metric.add_metric([lag.projection], float(value))
            yield metric


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def get_metrics(api: Api) -> Response:
    dependencies, lags = await look_around(api)
    SOCKETS.set(api.hub.subscribers)
    STREAMS.set(api.hub.listeners)
    outbox, archived = None, None
    if dependencies["postgres"]["ok"]:
        async with api.pool.acquire(timeout=3) as connection:
            row = await queries.outbox_unsent(connection)
            outbox = (row["unsent"], row["oldest_s"])
        archived = await read_archive(api)
    looked_up = CollectorRegistry(auto_describe=False)
    looked_up.register(Snapshot(dependencies, lags, outbox, archived))
    return Response(generate_latest(REGISTRY) + generate_latest(looked_up), media_type=CONTENT_TYPE_LATEST)


class RequestTimes:
    """ASGI middleware: how long each request took, by route and status."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, took_s = time.perf_counter(), 500, None

        async def noted(message: Message) -> None:
            nonlocal status, took_s
            if message["type"] == "http.response.start":
                status = message["status"]
                if (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]:
                    took_s = time.perf_counter() - began  # a stream goes on for as long as its client wants
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            # The route's pattern, never the path: ids would make a series each.
            route = getattr(scope.get("route"), "path", "unmatched")
            REQUEST_SECONDS.labels(scope["method"], route, status).observe(
                time.perf_counter() - began if took_s is None else took_s
            )
