"""Three brokers of a test's own, each of which it kills and starts when it wants: no keeper brings them back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from stack import kafka
from stack.settings import PORT_SETTINGS, Settings
from tests.services import ADDRESSES, free_port
from tests.waiting import eventually

NODES = (1, 2, 3)


@dataclass(slots=True)
class Brokers:
    settings: Settings
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, node: int) -> None:
        with (self.settings.data_dir / f"broker-{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(kafka.command(self.settings, node), stdout=log, stderr=log)

    def kill(self, node: int) -> None:
        """kill -9."""
        process = self.processes.pop(node)
        process.kill()
        process.wait()

    def leading_controller(self) -> int:
        """As the nodes that run wrote it down in their copy of the quorum's state; the newest word counts."""
        states = []
        for node in self.processes:
            path = kafka.node_folder(self.settings, node) / "data" / "__cluster_metadata-0" / "quorum-state"
            with contextlib.suppress(OSError, ValueError):
                states.append(json.loads(path.read_text()))
        newest = max(states, key=lambda state: int(state["leaderEpoch"]))
        return int(newest["leaderId"])

    async def all_in_sync(self, topic_prefix: str, timeout_s: float = 60) -> None:
        """Wait until every partition of the prefix's topics has a replica in sync on each broker."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await admin.start()
        try:

            async def behind() -> int:
                names = [name for name in await admin.list_topics() if name.startswith(topic_prefix)]
                topics = await admin.describe_topics(names)
                assert all(len(place["replicas"]) == len(NODES) for topic in topics for place in topic["partitions"])
                return sum(len(place["isr"]) < len(NODES) for topic in topics for place in topic["partitions"])

            async def none_behind() -> bool:
                return await behind() == 0

            await eventually(none_behind, timeout_s=timeout_s, what="every replica is in sync")
        finally:
            await admin.close()

    def stop(self) -> None:
        """At once: a broker that is asked to would look for another to hand its partitions to."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


@contextlib.asynccontextmanager
async def three_brokers() -> AsyncIterator[Brokers]:
    with tempfile.TemporaryDirectory(prefix="epochlog-brokers-", dir="/var/tmp") as folder:
        kept = {name: value for name, value in os.environ.items() if name not in ADDRESSES}
        ports = {variable: str(free_port()) for variable, _ in PORT_SETTINGS.values()}
        own = {"EPOCHLOG_DATA_DIR": folder, "EPOCHLOG_KAFKA_BROKERS": str(len(NODES))}
        settings = Settings.from_env({**kept, **ports, **own})
        assert Path(folder) == settings.data_dir
        for node in NODES:
            await asyncio.to_thread(kafka.prepare, settings, node)
        brokers = Brokers(settings)
        try:
            for node in NODES:
                brokers.start(node)

            async def ready() -> bool:
                return await kafka.ready(settings) is None

            await eventually(ready, timeout_s=60, what="three brokers are one cluster")
            yield brokers
        finally:
            brokers.stop()
