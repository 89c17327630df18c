"""Leases in Postgres: two launchers never start one attempt twice, and a dead one's work is taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from producers.database import Connection, Pool
from producers.queries import load_queries
from trainers.launcher.plan import Lease

LEASE_S: Final = 15.0
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


async def read_leases(tx: Connection) -> dict[int, Lease]:
    rows = await queries.all_leases(tx)
    return {row["job_id"]: Lease(row["job_id"], row["attempt"], row["launcher"], row["expires_at"]) for row in rows}


async def acquire(pool: Pool, job_id: int, attempt: int, launcher: str, run_folder: Path) -> bool:
    """Whether the job is ours now."""
    async with pool.acquire(timeout=10) as connection:
        row = await queries.acquire(
            connection,
            job_id=job_id,
            attempt=attempt,
            launcher=launcher,
            seconds=LEASE_S,
            run_folder=str(run_folder),
        )
    return row is not None


async def hold(pool: Pool, launcher: str, job_ids: list[int]) -> None:
    """Renew the leases of these jobs and give the launcher's others back."""
    async with pool.acquire(timeout=10) as connection:
        await queries.renew(connection, launcher=launcher, job_ids=job_ids, seconds=LEASE_S)
        await queries.release(connection, launcher=launcher, job_ids=job_ids)
