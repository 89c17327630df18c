"""Dead letters of all live read models at once. Each function needs a transaction of producers.database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from events.envelope import Position
from producers.database import Connection
from producers.live_models import live_models, rows_of_all

# Pending last: what the outbox holds, the read model has not applied.
ACTIONS: Final = """
    SELECT read_model, topic, partition, log_offset, action, reason, by, time, 0 AS pending, action_offset AS place
    FROM dead_letter_actions
    UNION ALL
    SELECT
        data ->> 'projection', data ->> 'topic', (data ->> 'partition')::integer, (data ->> 'offset')::bigint,
        CASE type WHEN 'training.deadletter.redriven.v1' THEN 'redriven' ELSE 'discarded' END,
        data ->> 'reason', data ->> 'by', time, 1, id
    FROM (
        SELECT outbox.id, outbox.type, outbox.time, convert_from(outbox.data, 'UTF8')::jsonb AS data
        FROM write.outbox
        LEFT JOIN dead_letters_session_marks AS marks
            ON marks.session = outbox.session AND marks.topic = outbox.topic
        WHERE outbox.topic = 'training.deadletter' AND outbox.type LIKE 'training.deadletter.%'
          AND (outbox.seq IS NULL OR outbox.seq > COALESCE(marks.high, 0))
    ) AS unapplied
"""
"""Every action: key = read model, so all of one read model's are in one order."""

LAST_ACTIONS: Final = f"""
    SELECT DISTINCT ON (read_model, topic, partition, log_offset) read_model, topic, partition, log_offset, action
    FROM ({ACTIONS}) AS actions
    ORDER BY read_model, topic, partition, log_offset, pending DESC, place DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """None looks at all; ``reason`` is a part of the reason's text, in any case of letters."""

    read_model: str | None = None
    topic: str | None = None
    reason: str | None = None
    status: str | None = None
    key: bytes | None = None


def _placed(places: Sequence[Position]) -> list[Any]:
    return [
        [place.topic for place in places],
        [place.partition for place in places],
        [place.offset for place in places],
    ]


async def find_places(tx: Connection, wanted: LetterFilter, limit: int, offset: int = 0) -> tuple[list[Position], int]:
    """Where dead letters stand, newest first, and how many places there are."""
    letters = rows_of_all(
        await live_models(tx), "dead_letters", "topic, partition, log_offset, append_time, key, reason"
    )
    rows = await tx.fetch(
        f"""
        SELECT topic, partition, log_offset, max(append_time) AS append_time, count(*) OVER () AS total
        FROM ({letters}) AS letters
        LEFT JOIN ({LAST_ACTIONS}) AS last USING (read_model, topic, partition, log_offset)
        WHERE ($1::text IS NULL OR read_model = $1)
          AND ($2::text IS NULL OR topic = $2)
          AND ($3::text IS NULL OR strpos(lower(letters.reason), lower($3)) > 0)
          AND ($4::text IS NULL OR COALESCE(action, 'open') = $4)
          AND ($7::bytea IS NULL OR key = $7)
        GROUP BY topic, partition, log_offset
        ORDER BY append_time DESC, topic, partition, log_offset DESC
        LIMIT $5 OFFSET $6
        """,
        *(wanted.read_model, wanted.topic, wanted.reason, wanted.status, limit, offset, wanted.key),
    )
    total = rows[0]["total"] if rows else 0
    if not rows and offset > 0:
        _, total = await find_places(tx, wanted, 1)
    return [Position(row["topic"], row["partition"], row["log_offset"]) for row in rows], total


async def find_letters(tx: Connection, places: Sequence[Position]) -> list[Any]:
    """The rows at these places, those of one place in the order of their read models."""
    columns = "topic, partition, log_offset, append_time, key, headers, value, reason"
    return await tx.fetch(
        f"""
        SELECT letters.*
        FROM ({rows_of_all(await live_models(tx), "dead_letters", columns)}) AS letters
        JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS wanted (topic, partition, log_offset)
            USING (topic, partition, log_offset)
        ORDER BY topic, partition, log_offset, read_model
        """,
        *_placed(places),
    )


async def find_actions(tx: Connection, places: Sequence[Position]) -> list[Any]:
    """All that was done with the records at these places, in its order."""
    return await tx.fetch(
        f"""
        SELECT actions.*
        FROM ({ACTIONS}) AS actions
        JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS wanted (topic, partition, log_offset)
            USING (topic, partition, log_offset)
        ORDER BY pending, time, place
        """,
        *_placed(places),
    )


async def find_copies(tx: Connection, places: Sequence[str]) -> list[Any]:
    """Dead letters that are copies, sent again, of the records at these places (as ``topic/partition/offset``)."""
    letters = rows_of_all(await live_models(tx), "dead_letters", "topic, partition, log_offset, headers")
    return await tx.fetch(
        f"""
        SELECT DISTINCT
            topic, partition, log_offset, convert_from(decode(header ->> 1, 'base64'), 'UTF8') AS redriven_from
        FROM ({letters}) AS letters
        CROSS JOIN LATERAL jsonb_array_elements(headers) AS header
        WHERE header ->> 0 = 'ce_redrivenfrom' AND decode(header ->> 1, 'base64') = ANY($1::bytea[])
        ORDER BY topic, partition, log_offset
        """,
        [place.encode() for place in places],
    )


async def find_marks(tx: Connection, sessions: Sequence[str]) -> list[Any]:
    """What each read model has seen of these sessions."""
    marks = rows_of_all(await live_models(tx), "session_marks", "session, topic, high, gaps")
    return await tx.fetch(f"SELECT * FROM ({marks}) AS marks WHERE session = ANY($1::text[])", list(sessions))


async def count_open(tx: Connection) -> dict[str, int]:
    """By read model, the dead letters that nobody decided about."""
    letters = rows_of_all(await live_models(tx), "dead_letters", "topic, partition, log_offset")
    rows = await tx.fetch(
        f"""
        SELECT read_model, count(*) AS letters
        FROM ({letters}) AS letters
        LEFT JOIN ({LAST_ACTIONS}) AS last USING (read_model, topic, partition, log_offset)
        WHERE action IS NULL
        GROUP BY read_model
        """
    )
    return {row["read_model"]: row["letters"] for row in rows}
