"""The object store."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio import Minio

from training_sdk.settings import RunSettings, SettingsError

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60.0
PART_BYTES: Final = 64 * 1024 * 1024
"""minio's own part size is 5 MiB: 2,000 requests for a checkpoint of 10 GB."""


def open_store(settings: RunSettings, connections: int = 8) -> Minio:
    """A client with short timeouts of its own. Not to be shared with a forked child. Raises SettingsError."""
    parts = urlsplit(endpoint_of(settings))
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        maxsize=connections,
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    return Minio(
        parts.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=parts.scheme == "https",
        region="us-east-1",  # saves asking the store for it
        http_client=pool,
    )


def endpoint_of(settings: RunSettings) -> str:
    """The store's address with its scheme. Raises SettingsError."""
    if not settings.s3_endpoint:
        raise SettingsError("S3_ENDPOINT is not set; set it (and S3_ACCESS_KEY, S3_SECRET_KEY) to reach the store")
    endpoint = settings.s3_endpoint if "://" in settings.s3_endpoint else f"http://{settings.s3_endpoint}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SettingsError(f"S3_ENDPOINT is {settings.s3_endpoint[:80]!r}, wanted e.g. http://127.0.0.1:9002")
    return endpoint


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of ``s3://bucket/key``. Raises SettingsError."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise SettingsError(f"{uri[:120]!r} is not of the form s3://bucket/path")
    return parts.netloc, uri.split(parts.netloc, 1)[1].lstrip("/")
