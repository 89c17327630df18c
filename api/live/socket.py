"""``/api/v1/ws/training``: live updates of one job, or of all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Annotated, Final

import asyncpg
from aiokafka.errors import KafkaError
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from api.context import Context, context_of
from api.live.catch_up import TooFarBehind, read_from
from api.live.cursor import BadCursor, Cursor
from api.live.messages import Frame, error_frame, status_frame
from api.live.snapshot import take_snapshot
from api.live.subscriber import Subscriber
from events.lifecycle import FINISHING
from producers.errors import Gone, NotFound

router = APIRouter(tags=["live"])
logger = logging.getLogger(__name__)

FLUSH_INTERVAL_S: Final = 0.05
"""The first update of a quiet run goes out at once; what follows is gathered for this long."""
SEND_TIMEOUT_S: Final = 10.0
UNKNOWN_JOB: Final = 4404
PURGED_JOB: Final = 4410
BAD_REQUEST: Final = 4400
TRY_AGAIN: Final = 1013


@router.websocket("/api/v1/ws/training")
async def training_socket(
    socket: WebSocket,
    job_id: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    after: Annotated[str | None, Query(max_length=20_000)] = None,
    protocol: Annotated[int, Query(ge=1, le=2)] = 1,
) -> None:
    """Plain clients get the six messages of the design. With ``protocol=2`` or ``after`` a client gets a snapshot
    (unless ``after``), every point, and a cursor in each frame that ``after`` takes."""
    context = context_of(socket)
    await socket.accept()
    if context.hub.full():
        await socket.close(TRY_AGAIN, "too many clients; try again later")
        return
    full = protocol == 2 or after is not None
    subscriber = Subscriber(job_id, full=full and job_id is not None)
    subscriber.hold()
    context.hub.add(subscriber)
    try:
        opened = await _open(socket, context, subscriber, after)
        if opened:
            await _serve(socket, subscriber)
    finally:
        context.hub.remove(subscriber)


async def _open(socket: WebSocket, context: Context, subscriber: Subscriber, after: str | None) -> bool:
    """Snapshot and catching up. False when the connection was closed instead."""
    job_id = subscriber.job_id
    if job_id is None:
        subscriber.release()
        return True
    try:
        answer, snapshot, cursor = await take_snapshot(context.pool, job_id)
        if not subscriber.full:
            subscriber.cursor = cursor
            subscriber.put(status_frame(answer.status, answer.state))
            if answer.status == "failed":
                subscriber.put(error_frame(answer.error_code, answer.error_message))
            if answer.state != FINISHING:
                context.hub.note_shown(job_id, answer.status, answer.state)
        elif after is not None:
            subscriber.cursor = Cursor.decode(after, job_id)
        else:
            subscriber.cursor = cursor
            subscriber.put(snapshot)
        await _catch_up(context, subscriber, snapshot, cursor)
        if answer.state == FINISHING:
            context.hub.watch(job_id)  # its last event was told before this client came
        elif after is not None:
            subscriber.put(status_frame(answer.status, answer.state))  # it may have changed while nobody listened
    except NotFound as error:
        await socket.close(UNKNOWN_JOB, error.detail)
        return False
    except Gone as error:
        await socket.close(PURGED_JOB, error.detail)
        return False
    except BadCursor as error:
        await socket.close(BAD_REQUEST, str(error))
        return False
    except (asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError, OSError, TimeoutError) as error:
        logger.warning("live client of job %s cannot be served now: %r", job_id, error)
        await socket.close(TRY_AGAIN, "a service behind the API does not answer; try again")
        return False
    return True


async def _catch_up(context: Context, subscriber: Subscriber, snapshot: Frame, now: Cursor) -> None:
    """From the client's cursor to the live tail; where that is too far, a gap and a snapshot instead."""
    assert subscriber.cursor is not None
    settings, start = context.settings, subscriber.cursor
    try:
        async for update in read_from(settings.kafka_bootstrap_servers, settings.topic_prefix, start):
            if subscriber.cursor.accept(update):
                for frame in update.frames:
                    subscriber.put(frame)
    except TooFarBehind:
        subscriber.cursor = now
        subscriber.lost += 1
        subscriber.put(snapshot)
    subscriber.release()


async def _serve(socket: WebSocket, subscriber: Subscriber) -> None:
    """Send until the client leaves or does not read for SEND_TIMEOUT_S."""
    reading = asyncio.create_task(_read(socket))
    sending = asyncio.create_task(_send(socket, subscriber))
    done, waiting = await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        error = task.exception()
        if isinstance(error, TimeoutError):
            with contextlib.suppress(RuntimeError, OSError):
                await asyncio.wait_for(socket.close(TRY_AGAIN, "the client does not read"), 1)
        elif error is not None and not isinstance(error, (WebSocketDisconnect, RuntimeError, OSError)):
            raise error


async def _read(socket: WebSocket) -> None:
    """Clients have nothing to say; what they send is read and dropped, so that closing is seen."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return


async def _send(socket: WebSocket, subscriber: Subscriber) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await subscriber.wake.wait()
        began = loop.time()
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for text in subscriber.take():
                await socket.send_text(text)
        pause_s = FLUSH_INTERVAL_S - (loop.time() - began)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
