"""The MLflow server on our Postgres and S3."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request

from stack.postgres import MLFLOW_DATABASE
from stack.settings import LOOPBACK, Settings


def command(settings: Settings) -> list[str]:
    return [
        *[sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(settings.ports["mlflow"])],
        *["--artifacts-destination", "s3://mlflow", "--workers", "1"],
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Its own variables: the S3 client's names, and the jobs service off (it quadruples the memory).

    The database's address may hold a password, so it stands here and not among the arguments.
    """
    store = settings.database_url_of(MLFLOW_DATABASE).replace("postgresql://", "postgresql+psycopg://", 1)
    return {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_endpoint,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def http_ok(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"


async def ready(settings: Settings) -> str | None:
    return await asyncio.to_thread(http_ok, f"{settings.mlflow_tracking_uri}/health")
