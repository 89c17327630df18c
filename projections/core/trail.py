"""One row an event for the audit trail: what is folded into chunks, lines and samples leaves its envelope here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from events.envelope import Event
from events.types.logs import LogWritten
from events.types.metrics import MetricsReported
from events.types.system import SystemSampled
from events.types.vocabulary import Fact
from producers.database import Connection

COLUMNS: Final = (
    *("job_id", "log_offset", "partition", "type", "time", "append_time"),
    *("attempt", "rank", "session", "seq", "source", "data"),
)


async def note(tx: Connection, table: str, events: Sequence[Event[Fact]]) -> None:
    """Append the events to one read model's trail."""
    await tx.copy_records_to_table(table, records=[_row(event) for event in events], columns=COLUMNS)


def _row(event: Event[Fact]) -> tuple[Any, ...]:
    assert event.position is not None
    return (
        *(event.job_id, event.position.offset, event.position.partition, event.type, event.time, event.append_time),
        *(event.attempt, event.rank, event.session, event.seq, event.source, summary(event.data)),
    )


def summary(data: Fact) -> dict[str, Any]:
    """The data, or what they were about where they are many: the points and lines themselves are kept elsewhere."""
    if isinstance(data, MetricsReported):
        return {
            "phase": data.phase,
            "rows": len(data.times),
            "names": list(data.values),
            "steps": _range(data.steps),
            "epochs": _range(data.epochs),
        }
    if isinstance(data, LogWritten):
        return {"lines": len(data.lines), "levels": dict(Counter(str(line.level) for line in data.lines))}
    if isinstance(data, SystemSampled):
        return {"cpu_percent": data.cpu_percent, "memory_used_bytes": data.memory_used_bytes, "gpus": len(data.gpus)}
    return data.model_dump(mode="json", exclude_none=True)


def _range(column: Sequence[int | None]) -> list[int] | None:
    """Smallest and largest; None where no row names one."""
    named = [value for value in column if value is not None]
    return [min(named), max(named)] if named else None
