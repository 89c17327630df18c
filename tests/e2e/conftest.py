from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from stack.demo.digits import DigitsDataset, make_dataset
from stack.demo.store import dataset_uri, open_store, upload_dataset
from stack.settings import Settings
from tests.e2e.product import Product
from tests.services import own_stack

SETTINGS = {
    # A kill must be seen as a failure first, but not for long.
    "EPOCHLOG_RETRY_DELAY_S": "1",
    # Two cores: a second training beside the one that is looked at would only slow both.
    "EPOCHLOG_SLOTS": "1",
}


@pytest.fixture(scope="session")
def whole_stack() -> Iterator[Settings]:
    """Everything that ``make up`` starts, on free ports and in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="epochlog-e2e-", dir="/var/tmp") as folder:
        # Postgres runs under another user when we are root: it must be able to walk in.
        Path(folder).chmod(0o755)
        with own_stack(Path(folder), [], **SETTINGS) as settings:
            yield settings


@pytest.fixture(scope="session")
def digits(whole_stack: Settings) -> tuple[DigitsDataset, str]:
    """A tiny data set with annotations for detection and for classification, and where it lies in the store."""
    dataset = make_dataset(whole_stack.data_dir / "digits", name="tiny-digits", train=12, val=6, test=0)
    uri = dataset_uri("training-datasets", dataset)
    upload_dataset(open_store(whole_stack), uri, dataset)
    return dataset, uri


@pytest_asyncio.fixture
async def product(whole_stack: Settings, digits: tuple[DigitsDataset, str]) -> AsyncIterator[Product]:
    async with httpx.AsyncClient(base_url=f"{whole_stack.backend_url}/", timeout=60) as api:
        found = (await api.get("datasets", params={"search": "tiny-digits"})).json()["datasets"]
        if not found:
            answer = await api.post("datasets", json={"name": "tiny-digits", "s3_uri": digits[1]})
            assert answer.status_code == 201, answer.text
            found = [answer.json()]
        yield Product(whole_stack, api, found[0]["id"])


@pytest_asyncio.fixture
async def lost_dataset_id(whole_stack: Settings, product: Product) -> int:
    """A data set that was registered and whose files are gone since."""
    dataset = make_dataset(whole_stack.data_dir / "lost", name="lost-digits", train=4, val=2, test=0)
    store, uri = open_store(whole_stack), dataset_uri("training-datasets", dataset)
    await asyncio.to_thread(upload_dataset, store, uri, dataset)
    answer = await product.api.post("datasets", json={"name": "lost-digits", "s3_uri": uri})
    assert answer.status_code == 201, answer.text
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")

    def remove() -> None:
        for item in store.list_objects(bucket, prefix=prefix, recursive=True):
            store.remove_object(bucket, item.object_name or "")

    await asyncio.to_thread(remove)
    dataset_id: int = answer.json()["id"]
    return dataset_id
