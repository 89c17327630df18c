"""The launcher process: ``python -m trainers.launcher``."""

from __future__ import annotations

import asyncio
import logging
import signal

from producers.database import open_pool
from producers.kafka.log_ends import LogEnds
from producers.kafka.publisher import KafkaPublisher
from producers.relay import Relay
from trainers.launcher.eraser import Eraser
from trainers.launcher.launcher import Launcher
from trainers.launcher.local import LocalProcesses
from trainers.launcher.reaper import Reaper
from trainers.launcher.settings import Settings

POOL_SIZE_MAX = 6


async def run(settings: Settings) -> None:
    """Until SIGTERM: runs go on without the launcher and are found again by the next one."""
    pool = await open_pool(settings.database_url, size_max=POOL_SIZE_MAX, name="epochlog launcher")
    publisher = KafkaPublisher(settings.kafka_bootstrap_servers, settings.topic_prefix)
    backend = LocalProcesses(settings)
    launcher = Launcher(pool, backend, settings)
    ends = LogEnds(settings.kafka_bootstrap_servers, settings.topic_prefix)
    reaper = Reaper(pool, backend, settings, ends)
    eraser = Eraser(pool, backend, settings)
    relay = Relay(pool, settings.database_url, publisher)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    jobs = (launcher.run(), launcher.sweep_for_ever(), reaper.run(), eraser.run(), relay.run())
    work = [asyncio.create_task(job) for job in jobs]
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([waiting, *work], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()  # raises what ended it: none of them ends by itself
    finally:
        for task in (waiting, *work):
            task.cancel()
        await asyncio.gather(waiting, *work, return_exceptions=True)
        await ends.close()
        await publisher.close()
        await pool.close()


def main() -> None:
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
