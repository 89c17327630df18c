"""The Grafana dashboard, built by Grafana's own models; ``python -m stack.monitoring`` writes dashboard.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

PATH: Final = Path(__file__).with_name("dashboard.json")
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
HEIGHT: Final = 8
BUCKETS: Final = "rate(epochlog_http_request_seconds_bucket[$__rate_interval])"


@dataclass(frozen=True, slots=True)
class Panel:
    """``lines``: (expression, legend). ``span`` of the 24 columns of a row."""

    title: str
    description: str
    unit: str
    span: int
    lines: tuple[tuple[str, str], ...]
    single: bool = False


PANELS: Final = (
    Panel(
        "Dependencies",
        "1 when it answers",
        "short",
        6,
        (("min by (dependency) (epochlog_dependency_up)", "{{dependency}}"),),
        True,
    ),
    Panel(
        "Workers",
        "1 when a worker gave a sign of life",
        "short",
        10,
        (("max by (projection) (epochlog_worker_up)", "{{projection}}"),),
        True,
    ),
    Panel(
        "Open dead letters",
        "Nobody decided about them yet",
        "short",
        4,
        (("sum(max by (projection) (epochlog_dead_letters))", "open"),),
        True,
    ),
    Panel(
        "Builds",
        "Versions of read models that are being built",
        "short",
        4,
        (("sum(max by (projection) (epochlog_projection_builds_running))", "running"),),
        True,
    ),
    Panel(
        "Lag",
        "Records that are not applied yet",
        "short",
        8,
        (("max by (projection) (epochlog_projection_lag)", "{{projection}}"),),
    ),
    Panel(
        "Age of the oldest unapplied event",
        "How long somebody has been waiting to see it",
        "s",
        8,
        (("max by (projection) (epochlog_projection_oldest_unapplied_seconds)", "{{projection}}"),),
    ),
    Panel(
        "Throughput",
        "Events applied a second",
        "eps",
        8,
        (("max by (projection) (rate(epochlog_projection_applied_events_total[$__rate_interval]))", "{{projection}}"),),
    ),
    Panel(
        "Dead letters",
        "By read model",
        "short",
        8,
        (("max by (projection) (epochlog_dead_letters)", "{{projection}}"),),
    ),
    Panel(
        "Outbox",
        "Accepted facts that wait for the log",
        "short",
        8,
        (
            ("max(epochlog_outbox_unsent)", "facts"),
            ("max(epochlog_outbox_oldest_unsent_seconds)", "seconds since the first"),
        ),
    ),
    Panel("WebSocket clients", "Of each API process", "short", 8, (("epochlog_websocket_clients", "{{instance}}"),)),
    Panel(
        "Requests",
        "By status",
        "reqps",
        12,
        (("sum by (status) (rate(epochlog_http_request_seconds_count[$__rate_interval]))", "{{status}}"),),
    ),
    Panel(
        "Request duration, 99th percentile",
        "By route",
        "s",
        12,
        (
            (
                f"histogram_quantile(0.99, sum by (le, route) ({BUCKETS}))",
                "{{route}}",
            ),
        ),
    ),
)


def dashboard_json() -> str:
    made = (
        grafana.Dashboard("epochlog")
        .uid("epochlog")
        .description("Is every read model up to date, and is nothing lost?")
        .tags(["epochlog"])
        .refresh("15s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(grafana.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for panel in PANELS:
        made = made.with_panel(_built(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _built(panel: Panel) -> stat.Panel | timeseries.Panel:
    built: stat.Panel | timeseries.Panel = _numbers() if panel.single else _lines()
    built = built.title(panel.title).description(panel.description).unit(panel.unit)
    built = built.datasource(SOURCE).span(panel.span).height(HEIGHT)
    for number, (expression, legend) in enumerate(panel.lines):
        query = (
            prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEF"[number]).datasource(SOURCE)
        )
        built = built.with_target(query)
    return built


def _numbers() -> stat.Panel:
    return stat.Panel().graph_mode(BigValueGraphMode.NONE)


def _lines() -> timeseries.Panel:
    return timeseries.Panel().legend(common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM))
