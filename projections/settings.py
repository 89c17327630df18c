"""Addresses that the projection processes need, read once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    kafka_bootstrap_servers: str
    topic_prefix: str
    topic_replication: int | None
    """Replicas of a topic that is made; None: one on each broker, three at most."""
    database_url: str
    mlflow_tracking_uri: str
    mlflow_backend_store_uri: str | None
    """The database of the MLflow server, to empty its trash of purged runs; None where it is not reached from here."""
    log_level: str
    data_dir: Path
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    archive_bucket: str
    archive_age_s: float
    """A record waits at most this long for others to share its file with."""
    archive_part_records: int
    archive_part_bytes: int
    instance: str
    """Tells workers of one process kind apart; a restarted worker takes over at once from its own dead self."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        return cls(
            kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092",
            topic_prefix=environment.get("EPOCHLOG_TOPIC_PREFIX", ""),
            topic_replication=int(environment.get("EPOCHLOG_TOPIC_REPLICATION") or 0) or None,
            database_url=environment.get("DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/epochlog",
            mlflow_tracking_uri=environment.get("MLFLOW_TRACKING_URI") or "http://127.0.0.1:5000",
            mlflow_backend_store_uri=environment.get("MLFLOW_BACKEND_STORE_URI") or None,
            s3_endpoint=environment.get("S3_ENDPOINT") or "http://127.0.0.1:9002",
            s3_access_key=environment.get("S3_ACCESS_KEY") or "minioadmin",
            s3_secret_key=environment.get("S3_SECRET_KEY") or "minioadmin",
            archive_bucket=environment.get("EPOCHLOG_ARCHIVE_BUCKET") or "training-archive",
            archive_age_s=float(environment.get("EPOCHLOG_ARCHIVE_AGE_S") or 600),
            archive_part_records=int(environment.get("EPOCHLOG_ARCHIVE_PART_RECORDS") or 50_000),
            archive_part_bytes=int(environment.get("EPOCHLOG_ARCHIVE_PART_BYTES") or 64 * 1024**2),
            data_dir=Path(environment.get("EPOCHLOG_DATA_DIR") or ".epochlog").resolve(),
            instance=f"{socket.gethostname()}-{environment.get('EPOCHLOG_WORKER_INSTANCE', '0')}",
            log_level=environment.get("EPOCHLOG_LOG_LEVEL", "INFO").upper(),
        )
