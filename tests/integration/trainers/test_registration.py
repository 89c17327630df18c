"""``python -m trainers.catalogue register`` against the real API and store, and weights from that store."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from producers.database import open_pool
from tests.running import Running, running_for_module
from tests.services import Services, World
from trainers.catalogue import FRAMEWORKS, offered_models
from trainers.ultralytics.config import read_config
from trainers.ultralytics.offline import keep_to_itself
from trainers.ultralytics.train import build_model, load_weights
from trainers.weights import WeightsNotUsable, fetch_weights
from training_sdk import RunSettings, TrainerSDK, wire
from training_sdk.testing import RecordingTransport


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_for_module(services, tmp_path_factory.mktemp("registration")) as found:
        yield found


REGISTER = ("-m", "trainers.catalogue", "register")


async def registrations(world: World) -> int:
    pool = await open_pool(world.database_url, size_max=1)
    try:
        count: int = await pool.fetchval(
            "SELECT count(*) FROM write.outbox WHERE type = 'training.model.registered.v1'"
        )
        return count
    finally:
        await pool.close()


async def test_every_model_is_written_and_registered_once(running: Running) -> None:
    world = running.world
    offered = {body["name"]: body for body in offered_models(FRAMEWORKS["ultralytics"])}

    async def register(*more: str) -> list[str]:
        printed = await asyncio.to_thread(world.run, *REGISTER, *more, BACKEND_URL=running.backend_url)
        return [line for line in printed.splitlines() if line.startswith("ultralytics/")]

    first = await register("--framework", "ultralytics")
    assert sorted(first) == sorted(f"ultralytics/{name}: registered, written in S3" for name in offered)
    assert await registrations(world) == len(offered)
    second = await register("--framework", "ultralytics")
    assert sorted(second) == sorted(f"ultralytics/{name}: registered, unchanged in S3" for name in offered)
    assert await registrations(world) == len(offered), "nothing changed in the log"

    response = world.store().get_object(world.models_bucket, "models/ultralytics/yolo11n.json")
    assert json.loads(response.read()) == offered["yolo11n"]
    response.release_conn()
    async with httpx.AsyncClient(base_url=running.backend_url + "/", timeout=30) as client:
        shown = (await client.get("models/yolo11n")).json()
        schema = (await client.get("models/yolo11n/config-schema")).json()
    assert shown["parameters"] == offered["yolo11n"]["parameters"]
    own = offered["yolo11n"]["config_schema"]["properties"]["advanced_config"]
    assert schema["properties"]["advanced_config"] == own


async def test_an_api_that_does_not_answer_fails_the_command(running: Running) -> None:
    with pytest.raises(AssertionError, match="does not answer"):
        await asyncio.to_thread(
            running.world.run, *REGISTER, "--framework", "ultralytics", BACKEND_URL="http://127.0.0.1:9/api/v1"
        )


def an_sdk(world: World, folder: Path, transport: RecordingTransport, **extra: str) -> TrainerSDK:
    environment = world.environment(JOB_ID="25", EPOCHLOG_SPOOL_DIR=str(folder), **extra)
    return TrainerSDK(RunSettings.from_env(environment), transport=transport)


def lines_of(transport: RecordingTransport) -> list[str]:
    return [line["message"] for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]


def put(world: World, name: str, content: bytes, **metadata: Any) -> None:
    store = world.store()
    if not store.bucket_exists(world.models_bucket):
        store.make_bucket(world.models_bucket)
    store.put_object(world.models_bucket, name, io.BytesIO(content), len(content), metadata=metadata)


def content_of(path: str | None) -> bytes:
    assert path is not None
    return Path(path).read_bytes()


def fetched_at(path: str | None) -> int:
    assert path is not None
    return Path(path).stat().st_mtime_ns


async def test_weights_come_from_our_own_store_or_from_nowhere(world: World, tmp_path: Path) -> None:
    transport = RecordingTransport()
    sdk = an_sdk(world, tmp_path, transport)

    async def fetch(model: str) -> str | None:
        return await asyncio.to_thread(fetch_weights, sdk, "ultralytics", model)

    assert await fetch("yolo11n") is None, "there is not even a bucket"
    content, place = b"weights" * 1000, "weights/ultralytics/yolo11n.pt"
    await asyncio.to_thread(put, world, place, content, sha256=hashlib.sha256(content).hexdigest())
    assert await fetch("yolo11s") is None
    found = await fetch("yolo11n")
    assert content_of(found) == content
    # Fetched once, and again when there are other ones.
    before = fetched_at(found)
    assert await fetch("yolo11n") == found and fetched_at(found) == before
    await asyncio.to_thread(put, world, place, content[::-1], sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsNotUsable, match="recorded is"):
        await fetch("yolo11n")
    await asyncio.to_thread(put, world, place, content[::-1])
    found = await fetch("yolo11n")
    assert content_of(found) == content[::-1]
    assert await asyncio.to_thread(sdk.close)
    bucket = f"s3://{world.models_bucket}/weights/ultralytics"
    assert lines_of(transport)[:3] == [
        f"No pretrained weights at {bucket}/yolo11n.pt: yolo11n begins with random weights",
        f"No pretrained weights at {bucket}/yolo11s.pt: yolo11s begins with random weights",
        f"yolo11n begins with the pretrained weights of {bucket}/yolo11n.pt",
    ]


async def test_a_store_that_does_not_answer_is_no_reason_to_train_from_other_weights(
    world: World, tmp_path: Path
) -> None:
    sdk = an_sdk(world, tmp_path, RecordingTransport(), S3_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(WeightsNotUsable, match="cannot be fetched"):
        await asyncio.to_thread(fetch_weights, sdk, "timm", "resnet18")


async def test_ultralytics_begins_with_the_weights_of_our_store(world: World, tmp_path: Path) -> None:
    def state_of(model: Any) -> dict[str, torch.Tensor]:
        return {name: value.float() for name, value in model.model.state_dict().items()}

    def begin() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        keep_to_itself(tmp_path)
        source, untouched, loaded = (build_model("yolo11n.yaml") for _ in range(3))
        file = tmp_path / "weights.pt"
        source.save(str(file))
        put(world, "weights/ultralytics/yolo11n.pt", file.read_bytes())
        sdk = an_sdk(world, tmp_path, RecordingTransport(), MODEL_NAME="yolo11n")
        for model, pretrained in ((untouched, False), (loaded, True)):
            load_weights(sdk, model, read_config("yolo11n", "detection", {"pretrained": pretrained}, {}))
        sdk.close()
        return state_of(source), state_of(untouched), state_of(loaded)

    source, untouched, loaded = await asyncio.to_thread(begin)
    # Checkpoints hold 16-bit floats.
    assert all(torch.equal(source[name].half(), loaded[name].half()) for name in source)
    assert not all(torch.equal(source[name].half(), untouched[name].half()) for name in source)
