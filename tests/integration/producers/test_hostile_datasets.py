"""Data sets that are made to do harm: each is refused by name, within the memory that its inspection is allowed."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import stat
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from events.types.datasets import DatasetRegistered
from producers.datasets.registration import MEMORY_BYTES_MAX, Store, describe
from producers.errors import Invalid
from tests.dice_stored import DETECTION, Content, document, good, picture, put
from tests.services import World

MEGABYTE = 1024**2
Change = Callable[[Content], None]


async def register(world: World, uri: str) -> DatasetRegistered:
    store = Store(world.s3_endpoint, world.s3_access_key, world.s3_secret_key)
    return await describe(store, uri, name="v", description=None, task_type=None, split_strategy=None)


async def refusal(world: World, uri: str) -> list[tuple[list[Any], str]]:
    """Place and message of each problem."""
    with pytest.raises(Invalid) as caught:
        await register(world, uri)
    return [(list(problem.location[1:]), problem.message) for problem in caught.value.problems]


def box(**changes: Any) -> Change:
    return lambda image: image["annotations"][0].update(changes)


def named(file_name: str) -> Change:
    return lambda image: image.update(file_name=file_name)


# One of these in each image: field, words of the message.
HOSTILE: list[tuple[Change, str, str]] = [
    (named("../../etc/passwd"), "images.file_name", "leaves the images folder"),
    (named("/etc/passwd"), "images.file_name", "is absolute"),
    (named("C:/secrets.png"), "images.file_name", "is absolute"),
    (named("..\\..\\secrets.png"), "images.file_name", "contains a backslash"),
    (named("a\nb.png"), "images.file_name", "control character"),
    (named("a\x00.png"), "images.file_name", "control character"),
    (named("a/./b.png"), "images.file_name", "leaves the images folder or has an empty part"),
    (named("a//b.png"), "images.file_name", "leaves the images folder or has an empty part"),
    (named("%2e%2e/secrets.png"), "images.file_name", "the picture is missing"),
    (named("．．／secrets.png"), "images.file_name", "the picture is missing"),
    (named("가" * 100 + ".png"), "images.file_name", "more than 240 bytes"),
    (box(bbox=[30, 20, 10, 10]), "annotations.bbox", "outside the image of 32 x 24"),
    (box(bbox=[-5, 2, 10, 10]), "annotations.bbox", "outside the image of 32 x 24"),
    (box(bbox=[2, 2, -10, 8]), "annotations.bbox", "no positive size"),
    (box(bbox=[2, 2, 0, 8]), "annotations.bbox", "no positive size"),
    (box(class_id=77), "annotations.class_id", "class id 77 is not defined"),
    (box(image_id=1_000), "annotations.image_id", "stands under image"),
    (box(bbox_format="xyxy"), "annotations.bbox_format", "only 'xywh' is"),
    (box(segmentation={"size": [24, 32], "counts": [7]}), "annotations.segmentation", "counts are 7 together"),
    (box(segmentation={"size": [1, 1], "counts": "0"}), "annotations.segmentation", "is not [height, width]"),
    (box(segmentation={"size": [24, 32], "counts": "~"}), "annotations.segmentation", "no number can go on"),
    (box(segmentation=[[1, 1, 900, 1, 5, 5]]), "annotations.segmentation", "a polygon lies outside"),
    (box(segmentation=[[1, 1]]), "annotations.segmentation", "at least three points"),
]


async def test_each_fault_is_named_with_file_image_and_field(world: World) -> None:
    content = document("detection", len(HOSTILE) + 4)
    files = {**good(), **{f"images/{number}.png": picture() for number in range(1, len(HOSTILE) + 5)}}
    for (change, _, _), image in zip(HOSTILE, content["images"], strict=False):
        change(image)
    first, second, third, fourth = content["images"][-4:]
    second["id"], second["annotations"][0]["id"] = first["id"], first["annotations"][0]["id"]
    second["annotations"][0]["image_id"] = first["id"]
    files[f"images/{third['file_name']}"] = picture()[:50]
    files[f"images/{fourth['file_name']}"] = b"%!PS-Adobe-3.0 EPSF-3.0\n"
    files[DETECTION] = json.dumps(content).encode()
    found = await refusal(world, await asyncio.to_thread(put, world, "hostile", files))

    def said(field: str, image: Content | None, words: str) -> bool:
        label = [] if image is None else [f"id {image['id']} ({image['file_name']})"]
        return any(place == [DETECTION, *label, field] and words in message for place, message in found)

    for (_, field, words), image in zip(HOSTILE, content["images"], strict=False):
        assert said(field, image, words), (field, words, found)
    assert any(place[-1] == "images.id" and "stands 2 times" in message for place, message in found)
    assert said("annotations.id", None, f"annotation id {first['annotations'][0]['id']} stands 2 times")
    assert said("images.file_name", third, "the picture cannot be opened")
    assert said("images.file_name", fourth, "it is none of JPEG")


async def test_numbers_that_are_none_are_named_with_their_place(world: World) -> None:
    content = document("detection")
    for number, value in enumerate([float("nan"), float("-inf"), "NaN"]):
        content["images"][number]["annotations"][0]["bbox"][2] = value
    content["images"][3]["width"] = -32
    # Python's JSON: bare NaN and -Infinity.
    uri = await asyncio.to_thread(put, world, "nan", {**good(), DETECTION: json.dumps(content).encode()})
    found = await refusal(world, uri)
    for number in range(3):
        label, field = f"id {number + 1} ({number + 1}.png)", f"images.{number}.annotations.0.bbox.2"
        assert ([DETECTION, label, field], "Input should be a finite number") in found
    assert ([DETECTION, "id 4 (4.png)", "images.3.width"], "Input should be greater than 0") in found


def head() -> bytes:
    return b'{"format_version":"1","task_type":"detection","classes":[{"id":0,"name":"a"}],'


async def test_files_that_are_no_json_or_far_too_much_of_it_are_named(world: World) -> None:
    text = json.dumps(document("detection"))
    cases = {
        "utf16": (text.encode("utf-16"), "it looks like UTF-16"),
        "utf16le": (text.encode("utf-16-le"), "it looks like UTF-16"),
        "utf32": (text.encode("utf-32"), "it looks like UTF-16"),
        "latin1": (text.replace("car", "carré").encode("latin-1"), "is not JSON"),
        "surrogate": (text.replace("1.png", "\\ud800.png").encode(), "is not JSON"),
        "deep": (b"[" * (50 * MEGABYTE), "is not JSON: depth limit exceeded"),
        "wide": (head() + b'"images":[' + b"[]," * (50 * MEGABYTE // 3) + b"[]]}", "should be a valid dictionary"),
        "beside": (head() + b'"images":[],"x":[' + b"[[[[]]]]," * (50 * MEGABYTE // 9) + b"[]]}", "more memory than"),
    }
    uris = {
        name: await asyncio.to_thread(put, world, name, {**good(), DETECTION: data})
        for name, (data, _) in cases.items()
    }
    for name, (_, words) in cases.items():
        found = await refusal(world, uris[name])
        assert any(place[0] == DETECTION and words in message for place, message in found), (name, found)
    # Of all the inspections, which are children of this process, none took more than it was allowed.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 <= MEMORY_BYTES_MAX


async def test_a_byte_order_mark_is_only_a_warning(world: World) -> None:
    files = {**good(), DETECTION: json.dumps(document("detection")).encode("utf-8-sig")}
    found = await register(world, await asyncio.to_thread(put, world, "bom", files))
    assert found.warnings == [f"{DETECTION}: starts with a byte order mark; JSON has none"]


def zipped(files: dict[str, bytes], *more: tuple[str, bytes, int]) -> bytes:
    """``more``: name, content and Unix mode."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in [*((name, data, stat.S_IFREG | 0o600) for name, data in files.items()), *more]:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return package.getvalue()


def put_zip(world: World, content: bytes) -> str:
    world.store().put_object(world.datasets_bucket, "42/vehicles.zip", io.BytesIO(content), len(content))
    return f"s3://{world.datasets_bucket}/42/vehicles.zip"


async def test_one_zip_is_a_data_set_with_or_without_a_folder_in_it(world: World) -> None:
    for files in (good(), {f"vehicles_v1/{name}": data for name, data in good().items()}):
        uri = await asyncio.to_thread(put_zip, world, zipped(files, ("__MACOSX/x", b"", stat.S_IFREG | 0o600)))
        found = await register(world, uri)
        assert (found.storage_path, found.total_images) == (uri, 4)
        assert found.splits.model_dump() == {"train": 3, "val": 1, "test": 0}
        assert found.task_types == ["classification", "detection"]
    bad = {**good(), "images/2.png": picture()[:40]}
    found_bad = await refusal(world, await asyncio.to_thread(put_zip, world, zipped(bad)))
    assert any(place[1:] == ["id 2 (2.png)", "images.file_name"] for place, _ in found_bad)
    with pytest.raises(Invalid, match="no data set lies at"):
        await register(world, f"s3://{world.datasets_bucket}/42/other.zip")


def bursting() -> bytes:
    """A zip of some kilobytes that says it holds 4 GB."""
    data = zipped({**good(), "images/x.png": bytes(100_000)})
    return data.replace(struct.pack("<I", 100_000), struct.pack("<I", 0xF0000000))


def encrypted() -> bytes:
    data = bytearray(zipped(good()))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8] |= 1
    return bytes(data)


async def test_a_hostile_zip_is_refused_by_the_name_of_its_entry(world: World) -> None:
    annotations = zipped(
        {
            DETECTION: json.dumps(document("detection")).encode() + b" " * 100_000,
        }
    )
    cases = {
        "entry '../../escaped' leaves": zipped(good(), ("../../escaped", b"x", stat.S_IFREG | 0o600)),
        "entry '/escaped' is absolute": zipped(good(), ("/escaped", b"x", stat.S_IFREG | 0o600)),
        "entry 'images/1.link' is a link": zipped(good(), ("images/1.link", b"/etc/passwd", stat.S_IFLNK | 0o777)),
        "entry 'images/val/4.png' is encrypted": encrypted(),
        "is a decompression bomb": bursting(),
        "is not a zip that can be read": zipped(good())[:-40],
        "cannot be read": annotations.replace(annotations[60:70], bytes(10), 1),
    }
    for words, content in cases.items():
        found = await refusal(world, await asyncio.to_thread(put_zip, world, content))
        file = DETECTION if words == "cannot be read" else "vehicles.zip"
        assert any(place[0] == file and words in message for place, message in found), (words, found)
