"""Any sequence of events, any redelivery, any cut into batches, a crash anywhere, two workers: for every read model the
same rows as one clean pass, and the outside is told the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from events.envelope import Record
from producers.database import Connection, Pool, connect, open_pool
from producers.decisions import append_decision
from producers.migrate import migrate
from projections.mlflow_mirror.mirror import Mlflow
from projections.registry import EARLY_STOP, MLFLOW, PROJECTIONS, Projection, projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.failures import BadEvent
from projections.runtime.versions import create_missing, create_version
from tests.histories import History, histories
from tests.services import Services

FEW, MANY = 8, 40
COMMON: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
}
NAMES = [projection.name for projection in PROJECTIONS]


@pytest.fixture(scope="module")
def database(services: Services) -> Iterator[str]:
    """Of each read model two builds: the live one, and one beside it for the clean pass."""
    name = f"t{random.getrandbits(40):010x}"
    dsn = urlsplit(services.database_url)._replace(path=f"/{name}").geturl()

    async def make() -> None:
        admin = await asyncpg.connect(services.database_url)
        await admin.execute(f'CREATE DATABASE "{name}"')
        await admin.close()
        connection = await connect(dsn)
        await migrate(connection)
        await create_missing(connection, PROJECTIONS)
        for projection in PROJECTIONS:
            async with connection.transaction():
                await create_version(connection, projection, state="building")
        await connection.close()

    async def drop() -> None:
        admin = await asyncpg.connect(services.database_url)
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()

    asyncio.run(make())
    yield dsn
    asyncio.run(drop())


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, size_max=4)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The generated log has holes, and early stopping odd settings: each of them is said, thousands of times."""
    caplog.set_level(logging.CRITICAL)


class Crash(Exception):
    """The process dies here."""


class DyingPool:
    """A pool for one batch whose process dies at the statement of this number, or when it should commit."""

    def __init__(self, pool: Pool, statement: int) -> None:
        self.pool, self.left = pool, statement

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[Any]:
        async with self.pool.acquire(timeout=timeout) as connection:
            yield _Dying(connection, self)

    def lives(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash


class _Dying:
    def __init__(self, connection: Connection, pool: DyingPool) -> None:
        self._connection, self._pool = connection, pool

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            yield
            self._pool.lives()

    def __getattr__(self, name: str) -> Any:
        if name in (
            "fetch",
            "fetchrow",
            "fetchval",
            "execute",
            "executemany",
            "copy_to_table",
            "copy_records_to_table",
        ):
            self._pool.lives()
        return getattr(self._connection, name)


class Runs(Mlflow):
    """Stands for MLflow: what it would hold in the end. It takes a repeated point as the same point."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.points: set[str] = set()

    async def ask(self, call: Callable[[Any], Any]) -> Any:
        return call(self)

    async def run_of(self, job_id: int, created: Any = None) -> tuple[str, str]:
        self.runs.setdefault(f"run of {job_id}", {})
        return f"run of {job_id}", "0"

    async def forget(self, job_id: int) -> str | None:
        self.runs.pop(f"run of {job_id}", None)
        self.points = {point for point in self.points if not point.startswith(f"run of {job_id} ")}
        return None

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Any = (), tags: Any = ()) -> None:
        if any(metric.key.endswith("refused") for metric in metrics):
            raise BadEvent("MLflow refuses: such a name")
        self.points |= {f"{run_id} {m.key} {m.value} {m.timestamp} {m.step}" for m in metrics}
        self.runs[run_id].update({f"param {one.key}": one.value for one in params})
        self.runs[run_id].update({f"tag {one.key}": one.value for one in tags})

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.runs[run_id][f"tag {key}"] = value

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.runs[run_id].update(status=status, end_time=end_time)

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id]["status"] = status

    def log_dict(self, run_id: str, dictionary: Any, artifact_file: str) -> None:
        self.runs[run_id][f"file {artifact_file}"] = dictionary


async def deliver(
    pool: Pool, projection: Projection, log: Sequence[Record], source: random.Random, outside: Any
) -> None:
    """As a worker might: some records of each partition at a time, again from an earlier place now and then, and dead
    in the middle of a batch."""
    partitions = sorted({record.partition for record in log})
    columns = {number: [record for record in log if record.partition == number] for number in partitions}
    position = dict.fromkeys(partitions, 0)
    while any(position[number] < len(columns[number]) for number in partitions):
        batch: list[Record] = []
        for number in source.sample(partitions, k=source.randint(1, len(partitions))):
            start = max(0, position[number] - (source.randint(1, 6) if source.random() < 0.3 else 0))
            position[number] = min(len(columns[number]), start + source.randint(1, 12))
            batch += columns[number][start : position[number]]
            if source.random() < 0.1:
                position[number] = start
        if source.random() < 0.3:
            dying: Any = DyingPool(pool, source.randint(0, 14))
            with contextlib.suppress(Crash):
                await apply_batch(dying, projection, batch, outside=outside)
        await apply_batch(pool, projection, batch, outside=outside)


async def schemas(pool: Pool, projection: Projection) -> tuple[str, str]:
    rows = await pool.fetch("SELECT state, schema_name FROM write.read_models WHERE projection = $1", projection.name)
    found = {row["state"]: row["schema_name"] for row in rows}
    return found["live"], found["building"]


async def tables_of(pool: Pool, schema: str) -> list[str]:
    rows = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY tablename", schema)
    return [row["tablename"] for row in rows]


async def empty(pool: Pool, schema: str) -> None:
    names = await tables_of(pool, schema)
    await pool.execute("".join(f'DELETE FROM "{schema}"."{name}"; ' for name in names) + "DELETE FROM write.outbox")


async def rows_in(pool: Pool, schema: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in await tables_of(pool, schema):
        rows = [dict(row) for row in await pool.fetch(f'SELECT * FROM "{schema}"."{name}"')]
        found[name] = sorted(rows, key=repr)
    return found


READ_UP_TO = {
    "projection_offsets": ("next_offset", "append_time", "bad_in_a_row", "window_records"),
    "purged_jobs": ("last_record_at",),
}
"""How much was read, not what counted: it differs by what was sent again."""


def counted(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    found = {}
    for name, rows in tables.items():
        left = READ_UP_TO.get(name, ())
        found[name] = [repr({column: row[column] for column in row if column not in left}) for row in rows]
    return found


async def clean_pass(
    pool: Pool, projection: Projection, schema: str, log: Sequence[Record]
) -> tuple[dict[str, list[dict[str, Any]]], Runs]:
    """All of the log in one batch: the rows, and what MLflow would hold."""
    await empty(pool, schema)
    runs = Runs()
    outside: Any = runs if projection.process == MLFLOW else None
    await apply_batch(pool, projection, log, outside=outside, schema=schema)
    return await rows_in(pool, schema), runs


async def tried(pool: Pool, projection: Projection, history: History, seed: int) -> None:
    live, clean = await schemas(pool, projection)
    await empty(pool, live)
    source, runs = random.Random(seed), Runs()
    outside: Any = {MLFLOW: runs, EARLY_STOP: append_decision}.get(projection.process)
    workers = source.choice((1, 1, 2))
    await asyncio.gather(
        *(deliver(pool, projection, history.log, random.Random(seed + one), outside) for one in range(workers))
    )
    torn = await rows_in(pool, live)
    if projection.process == EARLY_STOP:
        await told_once(pool, torn)
    expected, mirrored = await clean_pass(pool, projection, clean, history.log)
    # By their texts: NaN is not equal to itself.
    assert {name: list(map(repr, rows)) for name, rows in torn.items()} == {
        name: list(map(repr, rows)) for name, rows in expected.items()
    }
    assert (runs.runs, runs.points) == (mirrored.runs, mirrored.points)
    expected, mirrored = await clean_pass(pool, projection, clean, history.once)
    assert counted(torn) == counted(expected)
    assert (runs.runs, runs.points) == (mirrored.runs, mirrored.points)


async def told_once(pool: Pool, tables: dict[str, list[dict[str, Any]]]) -> None:
    rows = await pool.fetch("SELECT job_id, receipt_key FROM write.outbox WHERE type ~ 'stop.decided'")
    # Of a job that is purged nothing is kept, its decisions may have been told before.
    purged = {row["job_id"] for row in tables["purged_jobs"]}
    told = sorted(row["receipt_key"] for row in rows if row["job_id"] not in purged)
    assert told == sorted(f"decision/{row['decision_id']}" for row in tables["early_stop_decisions"])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=FEW, derandomize=True, phases=[Phase.generate], **COMMON)
@given(data=st.data(), seed=st.integers(0, 2**32))
async def test_any_delivery_ends_in_the_rows_of_one_clean_pass(pool: Pool, name: str, data: Any, seed: int) -> None:
    projection = projection_named(name)
    await tried(pool, projection, data.draw(histories(projection.topic)), seed)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=MANY, print_blob=True, **COMMON)
@given(data=st.data(), seed=st.integers(0, 2**32))
async def test_many_deliveries_end_in_the_rows_of_one_clean_pass(pool: Pool, name: str, data: Any, seed: int) -> None:
    projection = projection_named(name)
    await tried(pool, projection, data.draw(histories(projection.topic)), seed)
