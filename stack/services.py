"""The services of the local stack: one visible table."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from stack import kafka, mlflow, postgres, s3
from stack.settings import Settings, broker_name

Ready = Callable[[Settings], Awaitable[str | None]]
"""None when ready, else what is missing, for people."""


async def _always(settings: Settings) -> str | None:
    return None


async def _api_lives(settings: Settings) -> str | None:
    import asyncio

    return await asyncio.to_thread(mlflow.http_ok, settings.backend_url.removesuffix("/api/v1") + "/healthz")


def _module(*arguments: str) -> Callable[[Settings], list[str]]:
    def command(settings: Settings) -> list[str]:
        return [sys.executable, "-m", *arguments]

    return command


def _no_environment(settings: Settings) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Service:
    """``listeners`` are the ports it opens, by their name in settings.PORT_SETTINGS; the first one is shown.

    ``prepare`` runs in a thread before each start and must be safe to repeat. A one-shot service is done when it exits
    with 0. ``user`` gives the system user to run as.
    """

    name: str
    command: Callable[[Settings], list[str]]
    needs: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    ready: Ready = _always
    prepare: Callable[[Settings], None] | None = None
    environment: Callable[[Settings], Mapping[str, str]] = _no_environment
    user: Callable[[], str | None] | None = None
    one_shot: bool = False
    stop_timeout_s: float = 15.0
    stop_signal: signal.Signals = signal.SIGTERM


STORES: Final = ("kafka", "postgres", "s3")

SERVICES: Final = (
    Service("kafka", kafka.command, (), ("kafka", "kafka-controller"), kafka.ready, kafka.prepare),
    Service(
        "postgres",
        postgres.command,
        listeners=("postgres",),
        ready=postgres.ready,
        prepare=postgres.prepare,
        user=postgres.system_user,
        # Fast shutdown: SIGTERM would wait until every client has left.
        stop_signal=signal.SIGINT,
    ),
    Service(
        "s3",
        s3.command,
        listeners=("s3", "s3-master", "s3-volume", "s3-filer"),
        ready=s3.ready,
        prepare=s3.prepare,
        # Asked to end, its filer waits 15 s for streams that its own S3 gateway keeps open. What an answer promised is
        # written by then (a test looks), so it is not worth the wait.
        stop_timeout_s=3.0,
    ),
    Service("mlflow", mlflow.command, ("postgres", "s3"), ("mlflow",), mlflow.ready, environment=mlflow.environment),
    Service("migrate", _module("projections", "migrate"), ("kafka", "postgres"), one_shot=True),
    Service("api", _module("api"), ("migrate", *STORES), ("api",), _api_lives),
    # Tells the API which models the trainers here offer.
    Service("catalogue", _module("trainers.catalogue", "register"), ("api", "s3"), one_shot=True),
    Service("projections-core", _module("projections", "run", "core"), ("migrate",)),
    Service("projections-early-stop", _module("projections", "run", "early-stop"), ("migrate",)),
    Service(
        "projections-mlflow",
        _module("projections", "run", "mlflow"),
        ("migrate", "mlflow"),
        # To empty MLflow's trash of purged runs, which its API cannot.
        environment=mlflow.environment,
    ),
    Service("projections-archive", _module("projections", "run", "archive"), ("migrate", "s3")),
    Service("launcher", _module("trainers.launcher"), ("migrate", *STORES), stop_timeout_s=30.0),
)

SERVICE_NAMES: Final = tuple(service.name for service in SERVICES)


def services_of(settings: Settings) -> tuple[Service, ...]:
    """The table, with a row for each further broker where the settings ask for a cluster."""
    others = tuple(_further_broker(node) for node in range(2, settings.kafka_brokers + 1))
    needs = tuple(service.name for service in others)
    return (*others, *(replace(row, needs=needs) if row.name == "kafka" else row for row in SERVICES))


def _further_broker(node: int) -> Service:
    """Ready as soon as it is started: no broker answers before the others are there. The first one's check asks all."""
    name = broker_name(node)
    listeners = (name, f"{name}-controller")
    return Service(
        name,
        partial(kafka.command, node=node),
        listeners=listeners,
        prepare=partial(kafka.prepare, node=node),
        # The last one to stop has nobody left to hand its partitions to, and waits for somebody.
        stop_timeout_s=5.0,
    )


def chosen(names: list[str], settings: Settings) -> tuple[Service, ...]:
    """The named services and what they need, in the table's order; all for no name. Raises ValueError."""
    table = services_of(settings)
    by_name = {service.name: service for service in table}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"no service is called {', '.join(unknown)}; there are {', '.join(by_name)}")
    wanted = set(names or by_name)
    while missing := {need for name in wanted for need in by_name[name].needs} - wanted:
        wanted |= missing
    return tuple(service for service in table if service.name in wanted)
