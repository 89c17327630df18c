"""Real services for tests: the ones that the environment names, else a local stack of the session's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from minio import Minio

from stack.control import down, up
from stack.services import STORES
from stack.settings import PORT_SETTINGS, Settings

ROOT = Path(__file__).resolve().parent.parent


def free_port(below: int = 50_000) -> int:
    """A free port; below 50,000 by default, because SeaweedFS adds 10,000 to its own.

    Every pytest process beside this one has ports of its own: each is free until a service listens, seconds later.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    index = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        # Halved: the kernel gives odd ports to listeners and even ones to clients.
        if port < below and port // 2 % count == index:
            return port


@dataclass(frozen=True, slots=True)
class Services:
    """Addresses of running services."""

    kafka_bootstrap_servers: str
    database_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    settings: Settings | None = None
    """Of the stack that the tests started; None where the environment named the services."""


@contextlib.contextmanager
def running_services() -> Iterator[Services]:
    """Services of the environment, else Kafka, Postgres and S3 on free ports in a temporary folder."""
    names = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "S3_ENDPOINT")
    if all(os.environ.get(name) for name in names):
        given = Settings.from_env()
        yield _services(given, own=False)
        return
    with tempfile.TemporaryDirectory(prefix="epochlog-tests-", dir="/var/tmp") as folder:
        # Postgres runs under another user when we are root: it must be able to walk into the folder.
        Path(folder).chmod(0o755)
        with own_stack(Path(folder), list(STORES)) as settings:
            yield _services(settings, own=True)


@contextlib.contextmanager
def own_stack(folder: Path, names: list[str], **extra: str) -> Iterator[Settings]:
    """A stack of one's own, on free ports, stopped at the end. ``extra`` are settings of its processes."""
    ports = {variable: str(free_port()) for variable, _ in PORT_SETTINGS.values()}
    kept = {name: value for name, value in os.environ.items() if name not in ADDRESSES and not name.startswith("EPOCH")}
    settings = Settings.from_env({**kept, **ports, "EPOCHLOG_DATA_DIR": str(folder), **extra})
    try:
        up(settings, names)
        yield settings
    finally:
        down(settings)


ADDRESSES = frozenset({"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "S3_ENDPOINT", "MLFLOW_TRACKING_URI", "BACKEND_URL"})


def _services(settings: Settings, *, own: bool) -> Services:
    return Services(
        kafka_bootstrap_servers=settings.kafka_bootstrap_servers,
        database_url=settings.database_url,
        s3_endpoint=settings.s3_endpoint,
        s3_access_key=settings.s3_access_key,
        s3_secret_key=settings.s3_secret_key,
        settings=settings if own else None,
    )


@dataclass(frozen=True, slots=True)
class World:
    """One test's own part of the shared services: a database, a topic prefix, buckets and folders of its own."""

    kafka_bootstrap_servers: str
    database_url: str
    topic_prefix: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    datasets_bucket: str
    checkpoints_bucket: str
    models_bucket: str
    """Not made yet, as the next: few tests need them."""
    archive_bucket: str
    folder: Path

    def environment(self, **extra: str) -> dict[str, str]:
        """All variables that a process of ours needs to work in this world."""
        kept = {name: value for name, value in os.environ.items() if name not in ADDRESSES}
        return {
            **kept,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "DATABASE_URL": self.database_url,
            "EPOCHLOG_TOPIC_PREFIX": self.topic_prefix,
            "S3_ENDPOINT": self.s3_endpoint,
            "S3_ACCESS_KEY": self.s3_access_key,
            "S3_SECRET_KEY": self.s3_secret_key,
            "EPOCHLOG_DATASETS_BUCKET": self.datasets_bucket,
            "EPOCHLOG_CHECKPOINTS_BUCKET": self.checkpoints_bucket,
            "EPOCHLOG_MODELS_BUCKET": self.models_bucket,
            "EPOCHLOG_ARCHIVE_BUCKET": self.archive_bucket,
            "EPOCHLOG_DATA_DIR": str(self.folder),
            "EPOCHLOG_SPOOL_DIR": str(self.folder / "spool"),
            "PYTHONUNBUFFERED": "1",
            **extra,
        }

    def store(self) -> Minio:
        address = urlsplit(self.s3_endpoint)
        return Minio(address.netloc, access_key=self.s3_access_key, secret_key=self.s3_secret_key, secure=False)

    def start(self, *arguments: str, log: str, **extra: str) -> subprocess.Popen[bytes]:
        """A process ``python ARGUMENTS`` of this world, output in ``<folder>/<log>.log``; the caller ends it."""
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.environment(**extra), stdout=output, stderr=output
            )

    def run(self, *arguments: str, timeout_s: float = 60.0, **extra: str) -> str:
        """Run ``python ARGUMENTS`` to its end and return what it printed. Raises AssertionError when it fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@contextlib.asynccontextmanager
async def a_world(services: Services, folder: Path) -> AsyncIterator[World]:
    """A fresh world; its database, topics and buckets are removed at the end."""
    name = f"t{uuid.uuid4().hex[:10]}"
    world = World(
        kafka_bootstrap_servers=services.kafka_bootstrap_servers,
        database_url=urlsplit(services.database_url)._replace(path=f"/{name}").geturl(),
        topic_prefix=f"{name}.",
        s3_endpoint=services.s3_endpoint,
        s3_access_key=services.s3_access_key,
        s3_secret_key=services.s3_secret_key,
        datasets_bucket=f"{name}-datasets",
        checkpoints_bucket=f"{name}-checkpoints",
        models_bucket=f"{name}-models",
        archive_bucket=f"{name}-archive",
        folder=folder,
    )
    admin = await asyncpg.connect(services.database_url)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        await asyncio.to_thread(_make_buckets, world)
        try:
            yield world
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await _delete_topics(world)
            await asyncio.to_thread(_delete_buckets, world)
    finally:
        await admin.close()


def _make_buckets(world: World) -> None:
    store = world.store()
    for bucket in (world.datasets_bucket, world.checkpoints_bucket):
        store.make_bucket(bucket)


def _delete_buckets(world: World) -> None:
    """SeaweedFS gives every bucket volumes of its own, and a disk has room for some sixty."""
    store = world.store()
    for bucket in (world.datasets_bucket, world.checkpoints_bucket, world.models_bucket, world.archive_bucket):
        if store.bucket_exists(bucket):
            for item in store.list_objects(bucket, recursive=True):
                store.remove_object(bucket, item.object_name or "")
            store.remove_bucket(bucket)


async def _delete_topics(world: World) -> None:
    """Topics are files and memory of the shared broker: hundreds of tests would fill it.

    A broker that a test has just tormented may need a moment, or be gone with its stack: then nothing is left to do.
    """
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka_bootstrap_servers)
    try:
        await admin.start()
        topics = [topic for topic in await admin.list_topics() if topic.startswith(world.topic_prefix)]
        if topics:
            await admin.delete_topics(topics)
    except (KafkaError, OSError) as error:
        warnings.warn(f"topics of {world.topic_prefix} stay: {error!r}", ResourceWarning, stacklevel=2)
    finally:
        await admin.close()
