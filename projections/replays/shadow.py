"""A read model folded from its log again, beside the live one, and compared with it where both stand alike."""

from __future__ import annotations

from dataclasses import dataclass

from producers.database import Connection
from projections.replays.compare import differences
from projections.replays.differences import Comparison
from projections.runtime.build import Builder
from projections.runtime.expired import expired_before, take_over_marks
from projections.runtime.offset_reads import offsets_in
from projections.runtime.versions import Version, building_version, make_indexes, require_live, standing_still


class NotThere(RuntimeError):
    """The build does not stand where the live version stands."""


@dataclass(frozen=True, slots=True)
class Shadow:
    live: Version
    built: Version
    comparison: Comparison


async def build_shadow(connection: Connection, builder: Builder, *, indexes: bool) -> Shadow:
    """Go on with the build that was begun, or begin one, and compare it. Workers and readers go on meanwhile.

    ``connection`` holds the read model's lock. Takes three connections besides. Raises WrongVersion when the live
    version is of other code, and what Builder.catch_up raises.
    """
    live = await require_live(connection, builder.projection)
    version = await building_version(connection, builder.projection)
    await builder.approach(version, live)
    if indexes:
        await builder.report("indexes", 0, 0)
        await make_indexes(connection, version)
        await builder.approach(version, live)
    return Shadow(live, version, await compare_where_equal(connection, builder, live, version))


async def compare_where_equal(connection: Connection, builder: Builder, live: Version, version: Version) -> Comparison:
    """The live version stands still only until both are at the same offsets: one snapshot keeps that moment."""
    async with builder.pool.acquire(timeout=30) as reader:
        snapshot = reader.transaction(isolation="repeatable_read", readonly=True)
        async with standing_still(connection, live):
            await builder.catch_up(version, live)
            await take_over_marks(builder.pool, builder.projection, live, version)
            await snapshot.start()
            await reader.execute("SELECT 1")
        try:
            await builder.report("compare", 0, 0)
            found = await differences(reader, builder.projection, live, version)
            for partition, offset in sorted((await expired_before(reader, version)).items()):
                place = f"{builder.projection.topic}/{partition}"
                found.not_comparable.append(
                    f"{place} before offset {offset}: these records expired, their rows were taken as they are"
                )
            return found
        finally:
            await snapshot.rollback()


async def require_equal_offsets(builder: Builder, live: Version, version: Version) -> None:
    """Raises NotThere."""
    topic = builder.projection.topic
    there = await offsets_in(builder.pool, live.schema_name, topic)
    here = await offsets_in(builder.pool, version.schema_name, topic)
    if {p: end for p, end in there.items() if end} != {p: end for p, end in here.items() if end}:
        raise NotThere(f"{version.schema_name} stands at {here}, {live.schema_name} at {there}; nothing was switched")
