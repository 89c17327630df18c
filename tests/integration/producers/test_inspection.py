"""Data sets in a real store are read, described, or refused with every problem named."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import Callable

import pytest

from events.types.datasets import DatasetRegistered
from events.types.dice import DiceImage
from events.types.pictures import picture_fault
from producers.datasets.registration import MEMORY_BYTES_MAX, Store, StoreUnavailable, describe
from producers.errors import Invalid
from tests.dice_stored import CLASSIFICATION, DETECTION, Content, document, good, image, picture, put
from tests.services import World


def bomb() -> bytes:
    """A PNG of some kilobytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


async def register(
    world: World,
    uri: str,
    task_type: str | None = None,
    split_strategy: Content | None = None,
    *,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
) -> DatasetRegistered:
    store = Store(world.s3_endpoint, world.s3_access_key, world.s3_secret_key)
    return await describe(
        store,
        uri,
        name="v",
        description=None,
        task_type=task_type,
        split_strategy=split_strategy,
        memory_bytes_max=memory_bytes_max,
    )


async def refusal(world: World, files: dict[str, bytes]) -> Invalid:
    uri = await asyncio.to_thread(put, world, "bad", files)
    with pytest.raises(Invalid) as caught:
        await register(world, uri)
    return caught.value


async def test_a_data_set_is_described_from_what_lies_there(world: World) -> None:
    uri = await asyncio.to_thread(put, world, "42", good())
    found = (await register(world, uri, "detection")).model_dump()
    assert found["external_id"] == "550e8400-e29b-41d4-a716-446655440000"
    assert (found["task_types"], found["total_images"], found["version"]) == (["classification", "detection"], 4, 3)
    assert found["splits"] == {"train": 3, "val": 1, "test": 0}
    assert found["annotations"]["detection"] == {"file": DETECTION, "classes": ["car"], "total_annotations": 4}
    assert (found["storage_path"], found["warnings"]) == (uri, [])
    with pytest.raises(Invalid, match="annotations for classification, detection only"):
        await register(world, uri, "pose")


async def test_contradictions_that_do_no_harm_are_warnings(world: World) -> None:
    content = document("detection")
    content["statistics"] = {"total_images": 63, "class_distribution": {"plane": 3}}
    content["images"][0]["annotations"][0]["area"] = 5
    files = {**good(), DETECTION: json.dumps(content).encode()}
    found = await register(world, await asyncio.to_thread(put, world, "42", files))
    assert len(found.warnings) == 3
    assert f"{DETECTION}: statistics.total_images: says 63 images, 4 are listed" in found.warnings


async def test_the_old_single_file_holds_one_task_or_several(world: World) -> None:
    content = document("object_detection")
    both = {**content, "task_type": None}
    del both["task_type"]
    both["images"][0]["annotations"].append({"id": 99, "class_id": 0})
    pictures = {name: data for name, data in good().items() if name.startswith("images/")}
    for folder, old in (("one", document("object_detection")), ("several", both)):
        files = {**pictures, "annotations.json": json.dumps(old).encode()}
        found = await register(world, await asyncio.to_thread(put, world, folder, files))
        counts = {task: entry.total_annotations for task, entry in found.annotations.items()}
        assert counts == ({"detection": 4} if folder == "one" else {"classification": 1, "detection": 4})
        assert {entry.file for entry in found.annotations.values()} == {"annotations.json"}
    # A file of the task's own counts more.
    files = {**good(), "annotations.json": json.dumps({**document("detection"), "classes": []}).encode()}
    found = await register(world, await asyncio.to_thread(put, world, "both", files))
    assert {entry.file for entry in found.annotations.values()} == {DETECTION, CLASSIFICATION}


async def test_a_split_strategy_is_recorded_and_the_splits_follow_from_it(world: World) -> None:
    uri = await asyncio.to_thread(put, world, "42", good())
    found = await register(world, uri, split_strategy={"type": "k-fold", "folds": 2, "seed": 7})
    assert found.split_strategy == {"type": "k_fold", "folds": 2, "fold": 0, "seed": 7}
    assert found.splits.model_dump() == {"train": 2, "val": 2, "test": 0}
    found = await register(world, uri, "detection", {"type": "ratio", "ratios": [0.5, 0.25, 0.25]})
    assert found.splits.model_dump() == {"train": 2, "val": 1, "test": 1}
    refused: list[tuple[Content, tuple[str, ...], str]] = [
        ({"type": "guess"}, ("type",), "none of ratio"),
        ({"type": "ratio", "ratios": {"train": 0.9, "val": 0.9}}, ("ratios",), "1.8 together"),
        ({"type": "k_fold", "folds": 5}, ("folds",), "4 pictures cannot be dealt out to 5 folds"),
    ]
    for strategy, place, words in refused:
        with pytest.raises(Invalid, match="split_strategy") as caught:
            await register(world, uri, split_strategy=strategy)
        [problem] = caught.value.problems
        assert problem.location == ("body", "split_strategy", *place) and words in problem.message


async def test_a_file_of_another_task_than_its_name_says_is_refused(world: World) -> None:
    error = await refusal(world, {**good(), "annotations_pose.json": json.dumps(document("detection")).encode()})
    assert [(problem.location[1:], problem.message) for problem in error.problems] == [
        (("annotations_pose.json", "task_type"), "is detection, the file is for pose")
    ]


async def test_every_problem_is_named_with_file_image_and_field(world: World) -> None:
    content = document("detection", 8)
    images = content["images"]
    images[0]["annotations"][0]["class_id"] = 7
    images[1]["file_name"] = "../../secrets.png"
    images[2]["annotations"][0]["bbox"] = [30, 20, 10, 10]
    images[3]["split"] = "holdout"
    images[4]["annotations"][0]["bbox"] = None
    files = {**good(), DETECTION: json.dumps(content).encode(), "images/7.png": b"no picture", "images/8.png": bomb()}
    error = await refusal(world, files)
    places = {tuple(problem.location[1:]): problem.message for problem in error.problems}
    assert "class id 7 is not defined" in places[(DETECTION, "id 1 (1.png)", "annotations.class_id")]
    assert "leaves the images folder" in places[(DETECTION, "id 2 (../../secrets.png)", "images.file_name")]
    assert "outside the image" in places[(DETECTION, "id 3 (3.png)", "annotations.bbox")]
    assert "none of train, val, test" in places[(DETECTION, "id 4 (4.png)", "images.split")]
    assert "needs a bbox" in places[(DETECTION, "id 5 (5.png)", "annotations.bbox")]
    assert "missing" in places[(DETECTION, "id 6 (6.png)", "images.file_name")]
    assert "cannot be opened" in places[(DETECTION, "id 7 (7.png)", "images.file_name")]
    assert "decompression bomb" in places[(DETECTION, "id 8 (8.png)", "images.file_name")]
    assert f"has {len(error.problems)} problems" in error.detail


def with_dataset_id(text: str) -> bytes:
    return json.dumps({**document("classification"), "dataset_id": text}).encode()


def without_classes() -> bytes:
    return json.dumps({**document("detection"), "classes": []}).encode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({DETECTION: b"{"}, "is not JSON"),
        ({DETECTION: json.dumps(document("detection")).encode("utf-16")}, "UTF-16"),
        ({DETECTION: b"[]"}, DETECTION),
        ({DETECTION: b'{"images": 7}'}, "images"),
        ({DETECTION: b"[" * 100_000}, "is not JSON"),
        ({DETECTION: without_classes()}, "no class is defined"),
        ({CLASSIFICATION: with_dataset_id("x" * 5_000)}, "external_id"),
        ({CLASSIFICATION: with_dataset_id("a\x00b")}, "U+0000"),
        (
            {DETECTION: json.dumps({**document("detection"), "classes": [{"id": 0, "name": "a\x00"}]}).encode()},
            "name of a class must not contain the character U+0000",
        ),
        ({"images/1.png": picture(8, 8)}, "the picture is 8 x 8"),
        ({"images/1.png": picture()[:40]}, "cannot be opened"),
        ({"images/1.png": b""}, "cannot be opened"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_cannot_be_trained_on_is_refused(world: World, changes: dict[str, bytes], words: str) -> None:
    error = await refusal(world, {**good(), **changes})
    assert words in repr([(problem.location, problem.message) for problem in error.problems])


async def test_a_report_of_very_many_problems_stays_small(world: World) -> None:
    content = document("detection", 3_000)
    for entry in content["images"]:
        entry["file_name"] = f"{entry['id']}-" + "가" * 800
        entry["annotations"][0]["class_id"] = 9
    error = await refusal(world, {**good(), DETECTION: json.dumps(content).encode()})
    size = len(json.dumps([problem.as_dict() for problem in error.problems], ensure_ascii=False).encode())
    assert 100_000 < size < 1_000_000
    assert "further problems" in error.problems[-1].message


async def test_an_empty_folder_a_missing_bucket_and_a_silent_store_are_told_apart(world: World) -> None:
    with pytest.raises(Invalid) as nothing:
        await register(world, f"s3://{world.datasets_bucket}/nothing/")
    assert "annotations_detection.json" in nothing.value.problems[0].message
    for missing in ("s3://no-such-bucket-anywhere/42/", "s3://b/42/", "s3://no_Bucket!/42/"):
        with pytest.raises(Invalid, match="no data set lies at"):
            await register(world, missing)
    silent = Store("http://127.0.0.1:1", "a", "b")
    with pytest.raises(StoreUnavailable):
        await describe(silent, "s3://bucket/42/", name="v", description=None, task_type=None, split_strategy=None)


async def test_a_data_set_that_takes_too_much_memory_is_refused(world: World) -> None:
    small_file_of_many_objects = b'{"images": [' + b"[]," * 5_000_000 + b"[]]}"
    uri = await asyncio.to_thread(put, world, "42", {**good(), DETECTION: small_file_of_many_objects})
    with pytest.raises(Invalid, match=r"takes more memory|has 1 problems") as caught:
        await register(world, uri, memory_bytes_max=400 * 1024**2)
    assert "more memory than is allowed" in caught.value.problems[0].message


PICTURES: list[tuple[Callable[[], bytes], str | None]] = [
    (picture, None),
    (bomb, "the picture is a decompression bomb"),
    (lambda: picture(33, 24), "the picture is 33 x 24, the annotations say 32 x 24"),
]


@pytest.mark.parametrize(("make", "fault"), PICTURES)
def test_a_picture_is_really_opened(make: Callable[[], bytes], fault: str | None) -> None:
    entry = DiceImage.model_validate(image(1))
    assert picture_fault(make(), entry) == fault
