"""Is a read model what its log says? A shadow is folded up to the live offsets, compared, and dropped."""

from __future__ import annotations

from dataclasses import replace

from projections.replays.differences import Comparison
from projections.replays.progress import watched
from projections.replays.shadow import build_shadow
from projections.runtime.build import Builder, the_only_builder
from projections.runtime.versions import drop_version


async def verify(builder: Builder, *, quiet: bool = False) -> Comparison:
    """What differs. The live version is only read. Takes four connections.

    Raises WrongVersion when the live version is of other code, and what Builder.catch_up raises.
    """
    pool, projection = builder.pool, builder.projection
    async with (
        the_only_builder(pool, projection) as connection,
        watched(pool, projection.name, "verify", quiet=quiet) as run,
    ):
        watching = replace(builder, report=run.report)
        shadow = await build_shadow(connection, watching, indexes=False)
        async with connection.transaction():
            await drop_version(connection, shadow.built.schema_name)
        run.result = shadow.comparison.document()
        return shadow.comparison
