"""What the API process needs to know, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUILT_PAGE = Path(__file__).resolve().parent.parent / "dashboard" / "dist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str
    port: int
    kafka_bootstrap_servers: str
    topic_prefix: str
    database_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    checkpoints_bucket: str
    log_level: str
    dashboard_folder: Path
    """What ``make dashboard`` built."""
    allowed_hosts: tuple[str, ...]
    """Host names under which the API may be called: without accounts, a page of another origin must not reach it."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        more_hosts = environment.get("EPOCHLOG_ALLOWED_HOSTS", "")
        return cls(
            host=environment.get("EPOCHLOG_API_HOST") or "127.0.0.1",
            port=int(environment.get("EPOCHLOG_API_PORT") or 8000),
            kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092",
            topic_prefix=environment.get("EPOCHLOG_TOPIC_PREFIX", ""),
            database_url=environment.get("DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/epochlog",
            s3_endpoint=environment.get("S3_ENDPOINT") or "http://127.0.0.1:9002",
            s3_access_key=environment.get("S3_ACCESS_KEY") or "minioadmin",
            s3_secret_key=environment.get("S3_SECRET_KEY") or "minioadmin",
            checkpoints_bucket=environment.get("EPOCHLOG_CHECKPOINTS_BUCKET") or "training-checkpoints",
            log_level=environment.get("EPOCHLOG_LOG_LEVEL", "INFO").lower(),
            dashboard_folder=Path(environment.get("EPOCHLOG_DASHBOARD_DIR") or BUILT_PAGE),
            allowed_hosts=("localhost", "127.0.0.1", "[::1]", *(h.strip() for h in more_hosts.split(",") if h.strip())),
        )
