"""What the launcher needs to know, read once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainers.catalogue import FRAMEWORKS, Framework, frameworks
from trainers.launcher.plan import RETRY_DELAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str
    slots: int
    data_dir: Path
    spool_dir: Path
    database_url: str
    kafka_bootstrap_servers: str
    topic_prefix: str
    backend_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)
    datasets_bucket: str
    checkpoints_bucket: str
    models_bucket: str
    mlflow_tracking_uri: str
    frameworks: Mapping[str, Framework]
    """Those whose packages are here: an image has those of one, and another launcher runs the others' jobs."""
    grace_s: float
    """From SIGTERM to SIGKILL of a run that was asked to stop or to pause."""
    cancel_grace_s: float
    retry_delay_s: float
    """Before the first automatic retry; doubled for each further one."""
    lost_after_s: float
    lost_after_http_s: float
    """For runs that send no heartbeats: they only use the HTTP callbacks."""
    give_up_after_s: float
    """After this a lost run has failed, unless it gives a sign of life after all."""
    log_level: str
    inherited: Mapping[str, str] = field(repr=False)
    trainer_variables: tuple[str, ...] = ()
    """Names of further variables that trainers are handed: the place for their own secrets."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        data_dir = Path(environment.get("EPOCHLOG_DATA_DIR") or ".epochlog").resolve()
        port = environment.get("EPOCHLOG_API_PORT") or "8000"
        return cls(
            name=f"{socket.gethostname()}/{os.getpid()}",
            slots=int(environment.get("EPOCHLOG_SLOTS") or 1),
            data_dir=data_dir,
            spool_dir=Path(environment.get("EPOCHLOG_SPOOL_DIR") or data_dir / "spool"),
            database_url=environment.get("DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/epochlog",
            kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:9092",
            topic_prefix=environment.get("EPOCHLOG_TOPIC_PREFIX", ""),
            backend_url=environment.get("BACKEND_URL") or f"http://127.0.0.1:{port}/api/v1",
            s3_endpoint=environment.get("S3_ENDPOINT") or "http://127.0.0.1:9002",
            s3_access_key=environment.get("S3_ACCESS_KEY") or "minioadmin",
            s3_secret_key=environment.get("S3_SECRET_KEY") or "minioadmin",
            datasets_bucket=environment.get("EPOCHLOG_DATASETS_BUCKET") or "training-datasets",
            checkpoints_bucket=environment.get("EPOCHLOG_CHECKPOINTS_BUCKET") or "training-checkpoints",
            models_bucket=environment.get("EPOCHLOG_MODELS_BUCKET") or "training-models",
            mlflow_tracking_uri=environment.get("MLFLOW_TRACKING_URI") or "http://127.0.0.1:5000",
            frameworks={
                name: framework
                for name, framework in frameworks(environment.get("EPOCHLOG_TRAINERS")).items()
                if name not in FRAMEWORKS or framework.installed
            },
            grace_s=float(environment.get("EPOCHLOG_STOP_GRACE_S") or 120),
            cancel_grace_s=float(environment.get("EPOCHLOG_CANCEL_GRACE_S") or 10),
            retry_delay_s=float(environment.get("EPOCHLOG_RETRY_DELAY_S") or RETRY_DELAY_S),
            lost_after_s=float(environment.get("EPOCHLOG_LOST_AFTER_S") or 120),
            lost_after_http_s=float(environment.get("EPOCHLOG_LOST_AFTER_HTTP_S") or 900),
            give_up_after_s=float(environment.get("EPOCHLOG_GIVE_UP_AFTER_S") or 86_400),
            log_level=environment.get("EPOCHLOG_LOG_LEVEL", "INFO").upper(),
            inherited=dict(environment),
            trainer_variables=tuple((environment.get("EPOCHLOG_TRAINER_VARIABLES") or "").replace(",", " ").split()),
        )

    def run_folder(self, job_id: int, attempt: int) -> Path:
        return self.data_dir / "runs" / f"job-{job_id}" / f"attempt-{attempt}"
