"""The S3 store as the demo uses it: upload the data set, look whether checkpoints are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error

from stack.demo.digits import DigitsDataset, dataset_files
from stack.settings import Settings

UPLOADS_AT_ONCE: Final = 4
MARKER: Final = "metadata.json"
"""Uploaded last, so where it lies the rest does too."""


def open_store(settings: Settings) -> Minio:
    address = urlsplit(settings.s3_endpoint)
    return Minio(
        address.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), maxsize=UPLOADS_AT_ONCE),
    )


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object name of ``s3://bucket/name``. Raises ValueError."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"{uri!r} is no object's address; wanted s3://bucket/name")
    return parts.netloc, parts.path.removeprefix("/")


def dataset_uri(bucket: str, dataset: DigitsDataset) -> str:
    """Named after its content: other content lies elsewhere, the same content is found again."""
    return f"s3://{bucket}/{dataset.name}-{dataset.content_hash[:16]}/"


def upload_dataset(store: Minio, uri: str, dataset: DigitsDataset) -> bool:
    """Upload every file below ``uri``. Returns False when it lay there already. Raises S3Error."""
    bucket, prefix = split_uri(uri)
    try:
        store.stat_object(bucket, prefix + MARKER)
        return False
    except S3Error as error:
        if error.code not in ("NoSuchKey", "NoSuchBucket"):
            raise
    if not store.bucket_exists(bucket):
        store.make_bucket(bucket)

    def put(path: Path) -> None:
        store.fput_object(bucket, prefix + path.relative_to(dataset.folder).as_posix(), str(path))

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        list(pool.map(put, [path for path in dataset_files(dataset.folder) if path.name != MARKER]))
    put(dataset.folder / MARKER)
    return True
