"""Read a DICE data set in S3 and say all that is wrong with it. Runs as a process of its own with a memory limit.

``python -m producers.datasets.inspection`` reads a request (JSON) on standard input and prints a report (JSON): a
hostile data set can exhaust this process, not the API.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from minio.helpers import check_bucket_name
from PIL import Image, UnidentifiedImageError

from events.types.dice import (
    ANNOTATION_FILES,
    METADATA_FILE,
    OLD_ANNOTATION_FILE,
    SPLITS,
    DiceDocument,
    DiceImage,
    Problem,
    image_label,
    image_paths,
    parse_document,
    problems,
    unsafe_name,
)

ANNOTATION_BYTES_MAX: Final = 256 * 1024**2
PICTURE_BYTES_MAX: Final = 64 * 1024**2
PICTURE_PIXELS_MAX: Final = 100_000_000
PICTURES_OPENED_MAX: Final = 500
PICTURES_TIME_S: Final = 20.0
OBJECTS_MAX: Final = 1_000_000
REPORTED_MAX: Final = 1_000
REPORTED_TEXT_MAX: Final = 500
REPORT_BYTES_MAX: Final = 400_000


@dataclass(slots=True)
class Report:
    """``problems`` refuse the data set; ``warnings`` do not. ``documents`` by task."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    documents: dict[str, tuple[str, DiceDocument]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def add(self, found: list[Problem]) -> None:
        self.problems += [problem for problem in found if problem.fatal]
        self.warnings += [problem for problem in found if not problem.fatal]


class Bucket:
    """A prefix of a bucket, read with limits. Raises ValueError when it cannot be the name of a bucket."""

    def __init__(self, client: Minio, uri: str) -> None:
        address = urlsplit(uri)
        check_bucket_name(address.netloc)
        self.client, self.name = client, address.netloc
        self.prefix = address.path.lstrip("/").rstrip("/")
        self.prefix = f"{self.prefix}/" if self.prefix else ""

    def objects(self) -> dict[str, int]:
        """Name below the prefix -> size. Stops at OBJECTS_MAX."""
        found: dict[str, int] = {}
        for entry in self.client.list_objects(self.name, prefix=self.prefix, recursive=True):
            if entry.object_name is not None and not entry.is_dir:
                found[entry.object_name.removeprefix(self.prefix)] = entry.size or 0
            if len(found) >= OBJECTS_MAX:
                break
        return found

    def read(self, name: str) -> bytes:
        response = self.client.get_object(self.name, self.prefix + name)
        try:
            data: bytes = response.read()
        finally:
            response.close()
            response.release_conn()
        return data


def inspect(bucket: Bucket) -> Report:
    """Raises minio's S3Error for a bucket that is not there."""
    report = Report()
    objects = bucket.objects()
    files = [name for name in (*ANNOTATION_FILES.values(), OLD_ANNOTATION_FILE) if name in objects]
    if not files:
        wanted = ", ".join(ANNOTATION_FILES.values())
        report.add([Problem("", "", f"none of {wanted} or {OLD_ANNOTATION_FILE} lies in the folder")])
        return report
    if METADATA_FILE in objects:
        content = _json(bucket, METADATA_FILE, objects[METADATA_FILE], report)
        report.metadata = content if isinstance(content, dict) else {}
    for file in files:
        content = _json(bucket, file, objects[file], report)
        if content is None:
            continue
        document, found = parse_document(file, content)
        report.add(found)
        if document is not None:
            report.add(problems(file, document))
            report.add(_missing_pictures(file, document, objects))
            report.documents[str(document.task_type)] = (file, document)
    report.add(_bad_pictures(bucket, report, objects))
    return report


def _json(bucket: Bucket, file: str, size: int, report: Report) -> Any:
    if size > ANNOTATION_BYTES_MAX:
        report.add([Problem(file, "", f"has {size} bytes, at most {ANNOTATION_BYTES_MAX} are read")])
        return None
    raw = bucket.read(file)
    if raw.startswith(b"\xef\xbb\xbf"):
        report.add([Problem(file, "", "starts with a byte order mark; JSON has none", fatal=False)])
        raw = raw[3:]
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        hint = "; it looks like UTF-16, JSON is UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        report.add([Problem(file, "", f"is not JSON: {error}{hint}")])
        return None


def _missing_pictures(file: str, document: DiceDocument, objects: dict[str, int]) -> list[Problem]:
    return [
        Problem(file, "images.file_name", "the picture is missing", image_label(image.id, image.file_name))
        for image in document.images
        if unsafe_name(image.file_name) is None and picture_name(image, objects) is None
    ][:REPORTED_MAX]


def picture_name(image: DiceImage, objects: dict[str, int]) -> str | None:
    """The object that holds the picture, None when there is none."""
    return next((name for name in image_paths(image) if name in objects), None)


def _bad_pictures(bucket: Bucket, report: Report, objects: dict[str, int]) -> list[Problem]:
    """Open pictures: an even sample of them, as many as time allows."""
    images: dict[str, tuple[str, DiceImage]] = {}
    for file, document in report.documents.values():
        for image in document.images:
            name = picture_name(image, objects)
            if name is not None:
                images.setdefault(name, (file, image))
    names = sorted(images)
    chosen = names[:: max(1, len(names) // PICTURES_OPENED_MAX)]
    deadline, found = time.monotonic() + PICTURES_TIME_S, list[Problem]()
    for name in chosen:
        if time.monotonic() > deadline:
            break
        file, image = images[name]
        label = image_label(image.id, image.file_name)
        if objects[name] > PICTURE_BYTES_MAX:
            found.append(Problem(file, "images.file_name", f"has {objects[name]} bytes, too many for a picture", label))
        elif reason := picture_fault(bucket.read(name), image):
            found.append(Problem(file, "images.file_name", reason, label))
    return found


def picture_fault(raw: bytes, image: DiceImage) -> str | None:
    """Why a picture cannot be used, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as picture:
                if picture.width * picture.height > PICTURE_PIXELS_MAX:
                    return f"the picture has {picture.width} x {picture.height} pixels, too many to open"
                picture.load()
                size = (picture.width, picture.height)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        return f"the picture cannot be opened: {error}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "the picture is a decompression bomb"
    if size != (image.width, image.height):
        return f"the picture is {size[0]} x {size[1]}, the annotations say {image.width} x {image.height}"
    return None


def summary(report: Report) -> dict[str, Any]:
    """What the log will say of the data set: the fields of DatasetRegistered that come from its content."""
    first = next(iter(report.documents.values()))[1]
    largest = max((document for _, document in report.documents.values()), key=lambda document: len(document.images))
    splits = dict.fromkeys(SPLITS, 0)
    for image in largest.images:
        splits[image.split or "train"] += 1
    return {
        "external_id": first.dataset_id,
        "version": first.version,
        "task_types": sorted(report.documents),
        "total_images": len(largest.images),
        "splits": splits,
        "annotations": {
            task: {
                "file": file,
                "classes": [entry.name for entry in document.classes],
                "total_annotations": sum(len(image.annotations) for image in document.images),
            }
            for task, (file, document) in sorted(report.documents.items())
        },
    }


def listed(found: list[Problem]) -> list[dict[str, str | None]]:
    """Problems as JSON, as many as REPORT_BYTES_MAX has room for; a last one counts the others."""
    shown: list[dict[str, str | None]] = []
    room = REPORT_BYTES_MAX
    for problem in found[:REPORTED_MAX]:
        fields = {name: value and value[:REPORTED_TEXT_MAX] for name, value in problem.as_dict().items()}
        room -= len(orjson.dumps(fields))
        if room < 0:
            break
        shown.append(fields)
    if len(shown) < len(found):
        shown.append(Problem("", "", f"and {len(found) - len(shown)} further problems").as_dict())
    return shown


def main() -> int:
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes_max"], request["memory_bytes_max"]))
    address = urlsplit(request["endpoint"])
    client = Minio(
        address.netloc,
        access_key=request["access_key"],
        secret_key=request["secret_key"],
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=2),
    )
    try:
        bucket = Bucket(client, request["uri"])
    except ValueError as error:
        json.dump({"missing": f"{request['uri']}: {error}"}, sys.stdout)
        return 0
    try:
        report = inspect(bucket)
    except S3Error as error:
        answer: dict[str, Any] = {"missing": f"{request['uri']}: {error.code}"}
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        answer = {"unavailable": f"S3 does not answer: {error}"}
    except (MemoryError, SystemError):  # orjson says SystemError where memory ran out
        answer = {"problems": [Problem("", "", "reading the data set takes more memory than is allowed").as_dict()]}
    else:
        answer = {
            "problems": listed(report.problems),
            "warnings": listed(report.warnings),
            "summary": summary(report) if not report.problems and report.documents else None,
        }
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
