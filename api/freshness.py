"""Read what you wrote: ``?after=`` waits until the read models have a position of the outbox."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

from fastapi import Query, Response

from api.context import Context
from producers.accept import Receipt
from producers.database import transaction
from producers.errors import NotAccepted
from producers.queries import load_queries

WAIT_MAX_S: Final = 10.0
POLL_FIRST_S: Final = 0.02
POLL_MAX_S: Final = 0.3
POSITION_HEADER: Final = "Epochlog-Position"
"""Where an accepted write stands; a list or a series takes it as ``after``."""

queries: Final = load_queries(Path(__file__).with_suffix(".sql"))
After = Annotated[
    int | None, Query(ge=1, le=2**62, description=f"wait until this position is read ({POSITION_HEADER} of a write)")
]


class NotYet(NotAccepted):
    """The position is accepted, but the read models are further behind than a request may wait."""

    status = 503
    title = "Not applied yet"


async def wait_applied(context: Context, after: int | None) -> None:
    """Until everything of the outbox up to ``after`` is in the read models. Raises NotYet after WAIT_MAX_S."""
    if after is None:
        return
    loop = asyncio.get_running_loop()
    deadline, pause_s = loop.time() + WAIT_MAX_S, POLL_FIRST_S
    while True:
        async with transaction(context.pool, readonly=True) as tx:
            if not await queries.waiting_position(tx, after=after):
                return
        if loop.time() > deadline:
            raise NotYet(f"position {after} is accepted but not applied after {WAIT_MAX_S:.0f} s; ask again")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, POLL_MAX_S)


def note_position(response: Response, receipt: Receipt) -> None:
    """Tell the client where its write stands; a write that changed nothing stands nowhere."""
    if receipt.outbox_ids:
        response.headers[POSITION_HEADER] = str(receipt.outbox_ids[-1])
