"""Objects of the store, handed on to clients piece by piece: memory does not grow with the object."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import urllib3
from fastapi import Response
from minio import Minio
from minio.error import MinioException, S3Error
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from api.settings import Settings
from producers.errors import NotFound, Refused

PIECE_BYTES: Final = 256 * 1024
SHOWN_BY_BROWSERS: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Everything else is a download: HTML and SVG of a trainer must not run as pages of this origin."""
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_ONE_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_MISSING: Final = ("NoSuchKey", "NoSuchObject", "NoSuchBucket")


class StoreUnavailable(ConnectionError):
    """S3 does not answer now; the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class File:
    """An object as it was announced. Its key must begin with ``prefix``: the log names it, and anybody may write."""

    uri: str
    prefix: str
    name: str
    content_type: str | None
    sha256: str | None


def open_store(settings: Settings) -> Minio:
    """A client that may be used by many threads."""
    address = urlsplit(settings.s3_endpoint)
    return Minio(
        address.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=address.scheme == "https",
        region="us-east-1",  # saves asking the store for it
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=2, maxsize=16),
    )


async def content(store: Minio, bucket: str, file: File, range_header: str | None) -> Response:
    """The object, or the one range of it that is asked for.

    Raises NotFound, Refused where it lies outside of what is served, HTTPException 416, StoreUnavailable.
    """
    key = served_key(file, bucket)
    try:
        size = (await run_in_threadpool(store.stat_object, bucket, key)).size or 0
        start, end = byte_range(range_header, size)
        whole = end - start == size
        length = 0 if whole else end - start  # 0: all of it
        source = await run_in_threadpool(lambda: store.get_object(bucket, key, offset=start, length=length))
    except S3Error as error:
        if error.code in _MISSING:
            raise NotFound(f"{file.uri} is not in the store") from error
        raise StoreUnavailable(f"S3 does not answer: {error}") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise StoreUnavailable(f"S3 does not answer: {error}") from error
    headers = {**headers_of(file), "Content-Length": str(end - start)}
    if not whole:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(_pieces(source), 200 if whole else 206, headers)


async def _pieces(source: Any) -> AsyncIterator[bytes]:
    try:
        while piece := await run_in_threadpool(source.read, PIECE_BYTES):
            yield piece
    finally:
        source.close()
        source.release_conn()


def served_key(file: File, bucket: str) -> str:
    """The key of an object that belongs to the job. Raises Refused for any other address."""
    start = f"s3://{bucket}/"
    key = file.uri.removeprefix(start)
    if not file.uri.startswith(start + file.prefix) or any(part in ("", ".", "..") for part in key.split("/")):
        raise Refused(f"{file.uri[:200]} lies outside of {start}{file.prefix}, which is all that is served here")
    return key


def byte_range(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the byte after the last. What is not one range of bytes means all (RFC 9110, 14.2).

    Raises HTTPException 416 for a range that the object does not have.
    """
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[0] == "bytes=-":
        return 0, size
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), size if not last else min(size, int(last) + 1)
        if last and int(last) < start:
            return 0, size
    if start >= end:
        message = f"range {found[0]!r} is not satisfiable: the object has {size} bytes"
        raise HTTPException(416, message, {"Content-Range": f"bytes */{size}"})
    return start, end


def headers_of(file: File) -> dict[str, str]:
    """How a browser must treat it."""
    given = file.content_type or ""
    content_type = given if _CONTENT_TYPE.fullmatch(given) else "application/octet-stream"
    disposition = "inline" if content_type in SHOWN_BY_BROWSERS else "attachment"
    headers = {
        "Content-Type": content_type,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(file.name.rpartition('/')[2], safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Accept-Ranges": "bytes",
    }
    return headers if file.sha256 is None else {**headers, "ETag": f'"{quote(file.sha256, safe="")}"'}
