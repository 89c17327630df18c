"""Left-over spools of processes that nobody supervises: trainers run by hand, machines that were switched off."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from trainers.launcher.settings import Settings

SWEEP_INTERVAL_S: Final = 30.0
SWEEP_TIMEOUT_S: Final = 60.0
"""Of one job's records; checkpoints on their way up may take until PROCESS_TIMEOUT_S."""
PROCESS_TIMEOUT_S: Final = 3600.0
logger = logging.getLogger(__name__)


async def sweep(settings: Settings, supervised: set[int]) -> None:
    """Ship the spools of jobs that no supervisor looks after, by the SDK's own command."""
    if not settings.spool_dir.is_dir():
        return
    for folder in sorted(settings.spool_dir.glob("job-*")):
        number = folder.name.removeprefix("job-")
        if not number.isdigit() or int(number) in supervised or not any(folder.iterdir()):
            continue
        await _sync(settings, folder)


async def _sync(settings: Settings, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "training_sdk", "sync", str(folder)),
        *("--closed-by", "reaper", "--timeout", str(SWEEP_TIMEOUT_S)),
        env=dict(settings.inherited),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PROCESS_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        # The next folder gets its turn.
        logger.warning("left-over spool %s: not shipped within %.0f s", folder, PROCESS_TIMEOUT_S)
        return
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        logger.warning("left-over spool %s: %s", folder, output.decode("utf-8", "replace").strip())
