"""What a projection decided, on its way into the log: in the transaction that remembers the decision."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from events.types.jobs import StopDecided
from producers import outbox
from producers.database import Connection

DECISIONS: Final = uuid.UUID("5f1f7a52-6d0c-5c8e-9d4e-0b6a2f7c1e93")
"""Namespace of decision ids, for ever: another one would let a decision be made twice."""


def decision_id(job_id: int, attempt: int, rule: str) -> str:
    """The same, whoever computes the decision and however often."""
    return str(uuid.uuid5(DECISIONS, f"{job_id}/{attempt}/{rule}"))


async def append_decision(tx: Connection, job_id: int, attempt: int, decided: StopDecided, time: datetime) -> bool:
    """Put the decision into the outbox, unless it is there already; says whether it is new."""
    await outbox.lock(tx, f"job/{job_id}")
    key = f"decision/{decided.decision_id}"
    if await outbox.find_receipt(tx, key) is not None:
        return False
    note = outbox.ReceiptNote(key, decided.decision_id, {"job_id": job_id})
    await outbox.append(tx, outbox.Address(str(job_id), job_id, attempt), [decided], time, note)
    return True
