"""The archive's bucket. Objects are written whole or not at all, and what was written is read back and compared."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from projections.runtime.failures import Unavailable
from projections.settings import Settings

_MISSING: Final = ("NoSuchKey", "NoSuchObject", "NoSuchBucket")
CONTENT_TYPE: Final = "application/vnd.apache.parquet"


class WrittenWrong(RuntimeError):
    """The store gave back other bytes than it was given."""


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Store:
    """Every call raises Unavailable when S3 does not answer, or refuses."""

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.s3_endpoint)
        self.bucket: Final = settings.archive_bucket
        self._client = Minio(
            address.netloc,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            secure=address.scheme == "https",
            region="us-east-1",  # saves asking the store for it
            http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=2, maxsize=4),
        )

    async def make_bucket(self) -> None:
        """Make it where it is missing."""
        await asyncio.to_thread(self._make_bucket)

    async def write(self, key: str, content: bytes) -> None:
        """In the place of what stood there; a reader sees the one or the other. Raises WrittenWrong, Unavailable."""
        await asyncio.to_thread(self._put, key, content)
        if await self.read(key) != content:
            raise WrittenWrong(f"s3://{self.bucket}/{key} does not read back as it was written")

    async def read(self, key: str) -> bytes | None:
        """None where there is no such object."""
        return await asyncio.to_thread(self._get, key)

    async def remove(self, key: str) -> None:
        """What is not there is removed already."""
        await asyncio.to_thread(self._remove, key)

    async def keys(self, prefix: str = "") -> list[str]:
        """All names, in their order."""
        return await asyncio.to_thread(lambda: list(self._keys(prefix)))

    def _make_bucket(self) -> None:
        try:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise _unavailable(error) from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(error) from error

    def _put(self, key: str, content: bytes) -> None:
        try:
            self._client.put_object(self.bucket, key, io.BytesIO(content), len(content), content_type=CONTENT_TYPE)
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(error) from error

    def _get(self, key: str) -> bytes | None:
        try:
            answer = self._client.get_object(self.bucket, key)
            try:
                return bytes(answer.read())
            finally:
                answer.close()
                answer.release_conn()
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise _unavailable(error) from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(error) from error

    def _remove(self, key: str) -> None:
        try:
            self._client.remove_object(self.bucket, key)
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(error) from error

    def _keys(self, prefix: str) -> Iterator[str]:
        try:
            for entry in self._client.list_objects(self.bucket, prefix=prefix, recursive=True):
                if entry.object_name is not None and not entry.is_dir:
                    yield entry.object_name
        except S3Error as error:
            if error.code not in _MISSING:
                raise _unavailable(error) from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"S3 does not answer: {error}")
