"""Data sets over HTTP: registered from a real store, listed and found in the shapes of the design."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dice_stored import CLASSIFICATION, DETECTION, document, good, put
from tests.running import Running

SAMPLE = json.loads((Path(__file__).parents[2] / "spec_samples/datasets.response.json").read_text())


async def register(client: httpx.AsyncClient, uri: str, status: int = 201, **more: Any) -> dict[str, Any]:
    answer = await client.post("datasets", json={"name": "vehicles", "s3_uri": uri, **more})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(client: httpx.AsyncClient, **query: str | int) -> dict[str, Any]:
    answer = await client.get("datasets", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def uris(running: Running) -> dict[str, str]:
    only_train = document("object_detection")
    for image in only_train["images"]:
        image["split"] = "train"
    pictures = {name.replace("val/", "train/"): data for name, data in good().items() if name.startswith("images/")}
    return {
        "both": put(running.world, "both", good()),
        "train": put(running.world, "train", {**pictures, DETECTION: json.dumps(only_train).encode()}),
        "bad": put(running.world, "bad", {name: data for name, data in good().items() if name != "images/2.png"}),
    }


async def test_what_is_registered_is_found_at_once_in_the_shape_of_the_design(
    client: httpx.AsyncClient, uris: dict[str, str]
) -> None:
    answer = await client.post("datasets", json={"name": "both_v1", "s3_uri": uris["both"], "description": "Two tasks"})
    made = answer.json()
    assert answer.status_code == 201 and answer.headers["Location"] == f"/api/v1/datasets/{made['id']}"
    assert made == (await client.get(f"datasets/{made['id']}")).json()
    position = answer.headers["Epochlog-Position"]
    [found] = (await listed(client, search="both_v1", after=position))["datasets"]
    assert found == made
    [sample] = SAMPLE["datasets"]
    assert sample.keys() <= made.keys()
    assert {name: type(value) for name, value in sample.items()} == {name: type(made[name]) for name in sample}
    assert made["splits"] == {"train": 3, "val": 1, "test": 0} and made["total_images"] == 4
    assert made["annotations"] == {
        "detection": {"file": DETECTION, "classes": ["car"], "total_annotations": 4},
        "classification": {"file": CLASSIFICATION, "classes": ["car"], "total_annotations": 4},
    }
    assert made["storage_path"] == uris["both"] and made["description"] == "Two tasks"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", made["created_at"])


async def test_the_list_is_filtered_searched_and_paged(client: httpx.AsyncClient, uris: dict[str, str]) -> None:
    names = ["paged 100% a", "paged b", "paged c"]
    for name, place in zip(names, ("both", "train", "train"), strict=True):
        answer = await client.post("datasets", json={"name": name, "s3_uri": uris[place]})
        assert answer.status_code == 201, answer.text
    position = answer.headers["Epochlog-Position"]
    whole = await listed(client, search="paged", after=position)
    assert ([entry["name"] for entry in whole["datasets"]], whole["total"]) == (names, 3)
    page = await listed(client, search="paged", limit=1, offset=1)
    assert ([entry["name"] for entry in page["datasets"]], page["total"]) == (names[1:2], 3)
    beyond = await listed(client, search="paged", offset=9)
    assert (beyond["datasets"], beyond["total"]) == ([], 3)
    for task, count in (("detection", 3), ("object_detection", 3), ("classification", 1), ("pose", 0)):
        assert (await listed(client, search="paged", task_type=task))["total"] == count
    # What means something in a pattern of SQL means itself here.
    assert (await listed(client, search="100%"))["total"] == 1
    assert (await listed(client, search="paged_"))["total"] == 0
    assert (await listed(client, search="PAGED B"))["total"] == 1


async def test_a_data_set_with_only_a_train_split_is_dealt_out_by_its_strategy(
    client: httpx.AsyncClient, uris: dict[str, str]
) -> None:
    as_it_is = await register(client, uris["train"], task_type="object_detection")
    assert (as_it_is["splits"], as_it_is["split_strategy"]) == ({"train": 4, "val": 0, "test": 0}, None)
    strategy = {"type": "stratified", "ratios": {"train": 0.5, "val": 0.25, "test": 0.25}, "seed": 5}
    dealt = await register(client, uris["train"], split_strategy=strategy)
    assert dealt["splits"] == {"train": 2, "val": 1, "test": 1}
    assert dealt["split_strategy"] == strategy
    wrong = {"type": "ratio", "ratios": {"train": 0.5, "holdout": 0.5}, "seed": "x"}
    problem = await register(client, uris["train"], 422, split_strategy=wrong)
    places = {tuple(entry["location"]) for entry in problem["problems"]}
    assert places >= {("body", "split_strategy", "ratios", "holdout"), ("body", "split_strategy", "seed")}


async def test_a_refused_data_set_says_what_is_wrong_and_is_not_listed(
    client: httpx.AsyncClient, uris: dict[str, str]
) -> None:
    problem = await register(client, uris["bad"], 422)
    messages = [(entry["location"], entry["message"]) for entry in problem["problems"]]
    assert (["data set", DETECTION, "id 2 (2.png)", "images.file_name"], "the picture is missing") in messages
    # What is registered later is listed, so whatever came before it would be.
    answer = await client.post("datasets", json={"name": "after the refused one", "s3_uri": uris["both"]})
    shown = (await listed(client, after=answer.headers["Epochlog-Position"]))["datasets"]
    assert uris["both"] in {entry["storage_path"] for entry in shown}
    assert uris["bad"] not in {entry["storage_path"] for entry in shown}
