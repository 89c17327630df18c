from __future__ import annotations

import io
import os
from urllib.parse import urlsplit

from minio import Minio

from stack.control import down, up
from stack.s3 import BUCKETS
from stack.settings import Settings

OBJECTS = 200
PART_BYTES = 5 * 1024 * 1024


def test_what_was_stored_survives_down_and_up(own_environment: dict[str, str]) -> None:
    settings = Settings.from_env(own_environment)
    store = Minio(urlsplit(settings.s3_endpoint).netloc, access_key="minioadmin", secret_key="minioadmin", secure=False)
    large = os.urandom(2 * PART_BYTES + 1)
    up(settings, ["s3"])
    assert {bucket.name for bucket in store.list_buckets()} == set(BUCKETS)
    store.put_object("training-checkpoints", "large", io.BytesIO(large), len(large), part_size=PART_BYTES)
    for number in range(OBJECTS):
        body = f"object {number}".encode()
        store.put_object("training-datasets", f"set/{number}.txt", io.BytesIO(body), len(body))
    # At once after the last answer.
    down(settings)
    up(settings, ["s3"])
    assert len(list(store.list_objects("training-datasets", prefix="set/"))) == OBJECTS
    for number in (0, OBJECTS // 2, OBJECTS - 1):
        with store.get_object("training-datasets", f"set/{number}.txt") as answer:
            assert answer.read() == f"object {number}".encode()
    with store.get_object("training-checkpoints", "large") as answer:
        assert answer.read() == large
