"""Rebuild a read model from its log without downtime, and go back to the version before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from projections.replays.differences import Comparison
from projections.replays.progress import watched
from projections.replays.shadow import build_shadow, require_equal_offsets
from projections.runtime.build import Builder, the_only_builder
from projections.runtime.versions import (
    Version,
    WrongVersion,
    drop_unused,
    require_live,
    retired_version,
    size_bytes,
    switch,
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """``flipped`` false: ``live`` is live as before, and ``other`` is the build, which is kept to be looked at.

    ``comparison`` None: another process rebuilt it meanwhile.
    """

    live: Version
    other: Version | None
    other_bytes: int
    flipped: bool
    comparison: Comparison | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By phase: replay, indexes, compare, flip."""

    def document(self) -> dict[str, Any]:
        return {
            "flipped": self.flipped,
            "live_schema": self.live.schema_name,
            "other_schema": None if self.other is None else self.other.schema_name,
            "other_bytes": self.other_bytes,
            "seconds": dict(self.seconds),
            **({} if self.comparison is None else self.comparison.document()),
        }


async def rebuild(builder: Builder, *, only_if_equal: bool = False, quiet: bool = False) -> Rebuilt:
    """Build, compare, switch; what was live stays as the retired version until the next build.

    May be interrupted anywhere and called again: it goes on with what was built. Of two at once, one builds and the
    other takes its result. Differences stop nothing: they are what a rebuild heals; with ``only_if_equal`` the live
    version stays where there are any. Takes four connections.

    Raises WrongVersion when the live version is of other code, and what Builder.catch_up raises.
    """
    pool, projection = builder.pool, builder.projection
    async with pool.acquire() as first:
        before = await require_live(first, projection)
    async with the_only_builder(pool, projection) as connection:
        live = await require_live(connection, projection)
        if live != before:
            old = await retired_version(connection, projection)
            return Rebuilt(live, old, 0 if old is None else await size_bytes(connection, old.schema_name), True, None)
        async with watched(pool, projection.name, "rebuild", quiet=quiet) as run:
            watching = replace(builder, report=run.report)
            await drop_unused(connection, projection)
            shadow = await build_shadow(connection, watching, indexes=True)
            await run.names(shadow.built.schema_name)
            flipped = shadow.comparison.equal or not only_if_equal
            if flipped:
                await watching.approach(shadow.built, live)
                await run.report("flip", 0, 0)
                async with switch(connection, live, shadow.built):
                    await watching.catch_up(shadow.built, live)
                    await require_equal_offsets(watching, live, shadow.built)
            now, other = (shadow.built, live) if flipped else (live, shadow.built)
            bytes_kept = await size_bytes(connection, other.schema_name)
            run.end_phase(time.monotonic())
            done = Rebuilt(now, other, bytes_kept, flipped, shadow.comparison, run.seconds)
            run.result = done.document()
            return done


async def flip_back(builder: Builder, *, quiet: bool = False) -> Rebuilt:
    """The retired version gets what the log brought meanwhile and becomes live again; the live one is retired.

    The live one may be of newer code, whose workers must have been stopped: this is how an upgrade is taken back.

    Raises WrongVersion when there is no retired version or it is of other code, and what Builder.catch_up raises.
    """
    pool, projection = builder.pool, builder.projection
    async with the_only_builder(pool, projection) as connection:
        live = await require_live(connection, projection, any_version=True)
        if live.version < projection.version:
            await require_live(connection, projection)
        retired = await retired_version(connection, projection)
        if retired is None:
            raise WrongVersion(f"read model {projection.name} has no version to flip back to")
        if retired.version != projection.version:
            raise WrongVersion(
                f"{retired.schema_name} is of version {retired.version}, this code folds version {projection.version}; "
                "install the older code, and its migrate or worker says what to do"
            )
        async with watched(pool, projection.name, "flip-back", quiet=quiet) as run:
            await run.names(retired.schema_name)
            watching = replace(builder, report=run.report)
            await watching.approach(retired, live)
            await run.report("flip", 0, 0)
            async with switch(connection, live, retired):
                await watching.catch_up(retired, live)
                await require_equal_offsets(watching, live, retired)
            run.end_phase(time.monotonic())
            kept = await size_bytes(connection, live.schema_name)
            done = Rebuilt(retired, live, kept, True, None, run.seconds)
            run.result = done.document()
            return done
