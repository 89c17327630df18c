"""The one door: whatever is asked becomes facts in one transaction, and the answer comes after its commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

from events.early_stopping import early_stopping_of
from events.job import Job
from events.types.sessions import SessionOpened
from events.types.vocabulary import json_bytes
from producers import outbox
from producers.callbacks import Body, Callback, ReportLogs
from producers.catalogue import Offer, load_models, load_offer
from producers.commands import CreateJob, RegisterDataset, RegisterModel
from producers.database import Connection, Pool, transaction
from producers.decide import decide
from producers.decision import Decision, Situation
from producers.errors import FieldProblem, Invalid
from producers.job_state import load_dataset, load_jobs, missing
from producers.queries import load_queries
from training_sdk.wire import METRICS

KEY_LENGTH_MAX: Final = 255
queries: Final = load_queries(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Receipt:
    """``outbox_ids`` are where the facts stand until the log has them; empty when nothing had to change.

    ``id`` is the job's or the data set's, 0 for a model.
    """

    id: int
    answer: dict[str, Any]
    outbox_ids: tuple[int, ...]
    repeated: bool = False


async def accept(pool: Pool, job_id: int | None, command: Body, key: str | None, now: datetime) -> Receipt:
    """Lock, look, decide, append: one transaction. ``job_id`` is None for a command that makes something new.

    ``key`` is the caller's Idempotency-Key. Without one, the same callback of the same attempt counts as a repeat and
    gets the first answer; log lines without a timestamp never do. Commands are repeatable by what they find: pausing a
    second time, after a resume, is not the first time again.

    Raises NotFound, Gone, Refused, Invalid; asyncpg.PostgresError, OSError and TimeoutError when Postgres fails.
    """
    if key is not None and not 0 < len(key) <= KEY_LENGTH_MAX:
        problem = FieldProblem(
            ("header", "Idempotency-Key"),
            f"the Idempotency-Key has {len(key)} characters, wanted 1 to {KEY_LENGTH_MAX}",
        )
        raise Invalid(problem.message, [problem])
    async with transaction(pool) as tx:
        return await _accept(tx, job_id, command, key, now)


async def _accept(tx: Connection, job_id: int | None, command: Body, key: str | None, now: datetime) -> Receipt:
    # Before the lock: a name of its own for something new, so that equal keys wait for each other.
    await outbox.lock(tx, f"job/{job_id}" if job_id is not None else f"new/{key}")
    if isinstance(command, RegisterModel):
        # Two trainers that register at once: the second one sees what the first one said.
        await outbox.lock(tx, f"model/{command.description.name}")
    request_hash = _hash(type(command).__name__, command)
    if key is not None:
        receipt_key: str | None = f"key/{job_id}/{key}"
        if repeated := await _repeat(tx, receipt_key, request_hash):
            return repeated
    situation = await _situation(tx, job_id, command, now)
    if key is None:
        receipt_key = _receipt_key(situation.job, command, request_hash)
        if repeated := await _repeat(tx, receipt_key, request_hash):
            return repeated
    decision = decide(situation, command)
    return await _append(tx, situation, command, decision, receipt_key, request_hash, now)


async def _situation(tx: Connection, job_id: int | None, command: Body, now: datetime) -> Situation:
    if isinstance(command, CreateJob):
        new_id: int = await queries.next_job_id(tx)
        offer = await load_offer(tx, command.model_name, command.framework)
        return Situation(new_id, now, dataset=await load_dataset(tx, command.dataset_id), offer=offer)
    if isinstance(command, RegisterDataset):
        return Situation(await queries.next_dataset_id(tx), now)
    if isinstance(command, RegisterModel):
        return Situation(0, now, offer=Offer(await load_models(tx, [command.description.name])))
    assert job_id is not None, f"{type(command).__name__} needs a job"
    jobs = await load_jobs(tx, [job_id])
    if job_id not in jobs:
        raise await missing(tx, job_id)
    return Situation(job_id, now, job=jobs[job_id])


async def _append(
    tx: Connection,
    situation: Situation,
    command: Body,
    decision: Decision,
    receipt_key: str | None,
    request_hash: str,
    now: datetime,
) -> Receipt:
    of_a_job = not isinstance(command, RegisterDataset | RegisterModel)
    name = command.description.name if isinstance(command, RegisterModel) else str(situation.id)
    job_id = situation.id if of_a_job else None
    address = outbox.Address(name, job_id, decision.attempt, _opened(situation.job, decision.attempt))
    note = outbox.ReceiptNote(receipt_key, request_hash, decision.answer)
    ids = await outbox.append(tx, address, decision.facts, now, note)
    if isinstance(command, CreateJob) and not command.launch and early_stopping_of(command.config) is not None:
        # Nobody gives a run by hand its configuration: its SDK says nothing of early stopping.
        epochs = command.config.get("epochs")
        known = {"config": command.config, "total_epochs": epochs if isinstance(epochs, int) else None}
        opened = _opened(Job(id=situation.id).model_copy(update=known), 1)
        await outbox.open_session(tx, outbox.Address(name, job_id, 1, opened), METRICS, now)
    if not ids and decision.repeats:
        ids = await outbox.find_last(tx, situation.id, decision.repeats)
    return Receipt(situation.id, decision.answer, tuple(ids))


def _opened(job: Job | None, attempt: int) -> SessionOpened:
    """How a session of the job begins. Over HTTP nobody else can tell it to a fold that reads the metrics only."""
    if job is None:
        return outbox.OPENED
    known: dict[str, Any] = {"total_epochs": job.total_epochs, "early_stopping": early_stopping_of(job.config)}
    checkpoint = job.resume_checkpoint
    if checkpoint is None:
        known |= {"resume_step": 0, "resume_epoch": 0}
    elif checkpoint.attempt < attempt:
        step = None if checkpoint.step is None else checkpoint.step + 1
        known |= {"resume_step": step, "resume_epoch": checkpoint.epoch}
    return outbox.OPENED.model_copy(update=known)


async def _repeat(tx: Connection, receipt_key: str | None, request_hash: str) -> Receipt | None:
    if receipt_key is None:
        return None
    found = await outbox.find_receipt(tx, receipt_key)
    if found is None:
        return None
    if found["request_hash"] != request_hash:
        message = "this Idempotency-Key was used for another request; use a new key for a new request"
        raise Invalid(message, [FieldProblem(("header", "Idempotency-Key"), message)])
    answer = found["answer"]
    return Receipt(found["job_id"] or answer.get("id", 0), answer, (found["id"],), repeated=True)


def _hash(name: str, command: Body) -> str:
    canonical = orjson.dumps(orjson.loads(json_bytes(command.model_dump())), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(name.encode() + b"\n" + canonical).hexdigest()


def _receipt_key(job: Job | None, command: Body, request_hash: str) -> str | None:
    if job is None or not isinstance(command, Callback):
        return None
    if isinstance(command, ReportLogs) and any(entry.timestamp is None for entry in command.logs):
        return None
    # A run by hand becomes attempt 1 with its start: before and after it, a callback speaks of the same one.
    attempt = str(max(1, job.attempt))
    if job.revival is not None and not job.launch:
        # It stays attempt 1 when it goes on: what it says then is not what it said before its pause.
        attempt = f"{attempt}@{job.revival.requested_at.astimezone(UTC).isoformat()}"
    return f"body/{job.id}/{attempt}/{request_hash}"


TRANSIENT: Final = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, TimeoutError)
"""Errors after which the same call may succeed."""
