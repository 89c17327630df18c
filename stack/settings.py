"""Ports, folders and addresses of the local stack, all from the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).resolve().parent.parent
LOOPBACK: Final = "127.0.0.1"

PORT_SETTINGS: Final = {
    "kafka": ("EPOCHLOG_KAFKA_PORT", 9092),
    "kafka-controller": ("EPOCHLOG_KAFKA_CONTROLLER_PORT", 9093),
    "kafka-2": ("EPOCHLOG_KAFKA_2_PORT", 9094),
    "kafka-2-controller": ("EPOCHLOG_KAFKA_2_CONTROLLER_PORT", 9095),
    "kafka-3": ("EPOCHLOG_KAFKA_3_PORT", 9096),
    "kafka-3-controller": ("EPOCHLOG_KAFKA_3_CONTROLLER_PORT", 9097),
    "postgres": ("EPOCHLOG_POSTGRES_PORT", 5432),
    "s3": ("EPOCHLOG_S3_PORT", 9002),
    "s3-master": ("EPOCHLOG_S3_MASTER_PORT", 9333),
    "s3-volume": ("EPOCHLOG_S3_VOLUME_PORT", 8081),
    "s3-filer": ("EPOCHLOG_S3_FILER_PORT", 8888),
    "mlflow": ("EPOCHLOG_MLFLOW_PORT", 5000),
    "api": ("EPOCHLOG_API_PORT", 8000),
}
"""Listener to (environment variable, default). SeaweedFS opens a gRPC port at each of its ports + 10,000 too."""

S3_GRPC_OFFSET: Final = 10_000
BROKER_COUNTS: Final = (1, 3)
"""Of two brokers, either one that dies would stop both: a majority must agree."""


class InvalidSetting(ValueError):
    """A setting in the environment has a value that cannot be used."""


def _port(environment: Mapping[str, str], listener: str) -> int:
    name, default = PORT_SETTINGS[listener]
    text = environment.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise InvalidSetting(f"{name} is {text!r}; it must be a port number from 1 to 65535")
    return int(text)


def _brokers(environment: Mapping[str, str]) -> int:
    text = environment.get("EPOCHLOG_KAFKA_BROKERS") or "1"
    if text not in map(str, BROKER_COUNTS):
        raise InvalidSetting(f"EPOCHLOG_KAFKA_BROKERS is {text!r}; it must be 1 or 3")
    return int(text)


def broker_name(node: int) -> str:
    """The service and its listener, by node number: kafka, kafka-2, kafka-3."""
    return "kafka" if node == 1 else f"kafka-{node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``external`` names the services whose address was given in the environment: those are used, not started."""

    data_dir: Path
    ports: Mapping[str, int]
    external: frozenset[str]
    kafka_brokers: int
    """How many the stack itself starts."""
    kafka_bootstrap_servers: str
    database_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    mlflow_tracking_uri: str
    backend_url: str
    inherited: Mapping[str, str]

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises InvalidSetting."""
        ports = {listener: _port(environment, listener) for listener in PORT_SETTINGS}
        given = {
            "kafka": environment.get("KAFKA_BOOTSTRAP_SERVERS"),
            "postgres": environment.get("DATABASE_URL"),
            "s3": environment.get("S3_ENDPOINT"),
            "mlflow": environment.get("MLFLOW_TRACKING_URI"),
        }
        brokers = 1 if given["kafka"] else _brokers(environment)
        own_brokers = ",".join(f"{LOOPBACK}:{ports[broker_name(node)]}" for node in range(1, brokers + 1))
        return cls(
            data_dir=Path(environment.get("EPOCHLOG_DATA_DIR") or ROOT / ".epochlog").resolve(),
            ports=ports,
            external=frozenset(name for name, address in given.items() if address),
            kafka_brokers=brokers,
            kafka_bootstrap_servers=given["kafka"] or own_brokers,
            database_url=given["postgres"] or f"postgresql://postgres@{LOOPBACK}:{ports['postgres']}/epochlog",
            s3_endpoint=given["s3"] or f"http://{LOOPBACK}:{ports['s3']}",
            s3_access_key=environment.get("S3_ACCESS_KEY") or "minioadmin",
            s3_secret_key=environment.get("S3_SECRET_KEY") or "minioadmin",
            mlflow_tracking_uri=given["mlflow"] or f"http://{LOOPBACK}:{ports['mlflow']}",
            backend_url=f"http://{LOOPBACK}:{ports['api']}/api/v1",
            inherited=dict(environment),
        )

    def client_environment(self) -> dict[str, str]:
        """What any client of the stack needs (``make env``)."""
        return {
            "BACKEND_URL": self.backend_url,
            "S3_ENDPOINT": self.s3_endpoint,
            "S3_ACCESS_KEY": self.s3_access_key,
            "S3_SECRET_KEY": self.s3_secret_key,
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "DATABASE_URL": self.database_url,
            "PYTHON": sys.executable,
        }

    def process_environment(self) -> dict[str, str]:
        """The environment of our own processes."""
        return {
            **self.inherited,
            **self.client_environment(),
            "EPOCHLOG_DATA_DIR": str(self.data_dir),
            "EPOCHLOG_API_PORT": str(self.ports["api"]),
            "PYTHONUNBUFFERED": "1",
            # Telemetry of packages that send some by default.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"

    def database_url_of(self, database: str) -> str:
        """The same server's address with another database."""
        parts = urlsplit(self.database_url)
        return parts._replace(path=f"/{database}").geturl()
