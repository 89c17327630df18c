"""Tell the service which models there are: a capability file in S3 each, and a registration through the API.

A second run changes nothing: equal files are not written again, and the API answers an equal registration without a
new event.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import urllib.error
import urllib.request
from typing import Any, Final

from minio import Minio
from minio.error import S3Error

from trainers.catalogue import FRAMEWORKS, Framework, offered_models
from training_sdk import RunSettings, SettingsError
from training_sdk.storage.s3 import open_store
from training_sdk.storage.uploads import STORE_ERRORS

API_TIMEOUT_S: Final = 30.0


class NotRegistered(RuntimeError):
    """The service or the store did not take it; the message says which model and why."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m trainers.catalogue", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (("register", "write capability files and register"), ("show", "print the registrations")):
        named = verbs.add_parser(verb, help=text)
        named.add_argument("--framework", choices=sorted(FRAMEWORKS), help="only this one; else all that are installed")
    options = parser.parse_args(arguments)
    chosen = chosen_frameworks(options.framework)
    if options.verb == "show":
        for framework in chosen:
            for body in offered_models(framework):
                print(json.dumps(body))
        return 0
    settings = RunSettings.from_env()
    try:
        store = open_store(settings)
        if not settings.backend_url:
            raise SettingsError("BACKEND_URL is not set, e.g. http://127.0.0.1:8000/api/v1")
        make_bucket(store, settings.models_bucket)
        for framework in chosen:
            for body in offered_models(framework):
                wrote = write_capability(store, settings.models_bucket, body)
                register(settings.backend_url, body)
                print(f"{framework.name}/{body['name']}: registered, {'written' if wrote else 'unchanged'} in S3")
    except (NotRegistered, SettingsError, *STORE_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def chosen_frameworks(name: str | None) -> list[Framework]:
    """The named one, else all whose packages are here: what cannot run here is somebody else's to offer."""
    if name is not None:
        return [FRAMEWORKS[name]]
    for framework in FRAMEWORKS.values():
        if not framework.installed:
            print(f"{framework.name} is not installed here; its models are not registered")
    return [framework for framework in FRAMEWORKS.values() if framework.installed]


def capability_key(body: dict[str, Any]) -> str:
    return f"models/{body['framework']}/{body['name']}.json"


def make_bucket(store: Minio, bucket: str) -> None:
    if not store.bucket_exists(bucket):
        store.make_bucket(bucket)


def write_capability(store: Minio, bucket: str, body: dict[str, Any]) -> bool:
    """Write a model's capability file, unless it is there as it should be. Returns whether it was written."""
    content = json.dumps(body, indent=2, sort_keys=True).encode()
    key = capability_key(body)
    if _stored(store, bucket, key) == content:
        return False
    store.put_object(bucket, key, io.BytesIO(content), len(content), content_type="application/json")
    return True


def _stored(store: Minio, bucket: str, key: str) -> bytes | None:
    try:
        response = store.get_object(bucket, key)
    except S3Error as error:
        if error.code in ("NoSuchKey", "NoSuchObject"):
            return None
        raise
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


def register(backend_url: str, body: dict[str, Any]) -> dict[str, Any]:
    """``POST /api/v1/models``. Raises NotRegistered."""
    request = urllib.request.Request(
        f"{backend_url}/models",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    what = f"{body['framework']}/{body['name']}"
    # Ours is called directly, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=API_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.loads(response.read())
            return answer
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode("utf-8", "replace")[:2_000]
        raise NotRegistered(f"{what} was not registered: {error.code} {text}") from error
    except OSError as error:
        raise NotRegistered(f"{what} was not registered, {backend_url} does not answer: {error}") from error
