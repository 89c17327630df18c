"""Read a DICE data set in S3 and say all that is wrong with it. Runs as a process of its own with a memory limit.

``python -m producers.datasets.inspection`` reads a request (JSON) on standard input and prints a report (JSON): a
hostile data set can exhaust this process, not the API.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import orjson
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from events.types.dice import (
    ANNOTATION_FILES,
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
from events.types.old_dice import task_contents
from events.types.pictures import PICTURE_BYTES_MAX, picture_fault
from events.types.splits import InvalidStrategy, parse_strategy, split
from producers.datasets import READING
from producers.datasets.sources import UNREADABLE, Source, open_source

ANNOTATION_BYTES_MAX: Final = 256 * 1024**2
CLASS_NAMES_BYTES_MAX: Final = 500_000
"""Their list is part of an event."""
PICTURES_SPREAD: Final = 500
PICTURES_PARALLEL: Final = 4
PICTURES_TIME_S: Final = 20.0
LARGE_PIXELS: Final = 8_000_000
NICENESS: Final = 10
REPORTED_MAX: Final = 1_000
REPORTED_TEXT_MAX: Final = 500
REPORT_BYTES_MAX: Final = 400_000


@dataclass(slots=True)
class Report:
    """``problems`` refuse the data set; ``warnings`` do not. ``documents`` by task."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    documents: dict[str, tuple[str, DiceDocument]] = field(default_factory=dict)

    def add(self, found: list[Problem]) -> None:
        self.problems += [problem for problem in found if problem.fatal]
        self.warnings += [problem for problem in found if not problem.fatal]


def inspect(source: Source) -> Report:
    """All that is wrong with a data set. Raises what minio raises."""
    report = Report()
    report.add(source.problems)
    if report.problems:
        return report
    files = [name for name in ANNOTATION_FILES.values() if name in source.sizes]
    old = [OLD_ANNOTATION_FILE] if OLD_ANNOTATION_FILE in source.sizes else []
    if not files and not old:
        wanted = ", ".join(ANNOTATION_FILES.values())
        report.add([Problem("", "", f"none of {wanted} or {OLD_ANNOTATION_FILE} lies in the folder")])
        return report
    for file in [*files, *old]:
        print(f"{READING}{file}", file=sys.stderr, flush=True)
        try:
            _read_annotations(source, file, report)
        except (MemoryError, SystemError):  # orjson says SystemError where memory ran out
            report.add([Problem(file, "", "reading it takes more memory than is allowed")])
    print(f"{READING}pictures", file=sys.stderr, flush=True)
    report.add(_bad_pictures(source, report))
    return report


def _read_annotations(source: Source, file: str, report: Report) -> None:
    content = _json(source, file, report)
    if content is None:
        return
    for task, part in (task_contents(content) if file == OLD_ANNOTATION_FILE else {"": content}).items():
        if str(task) in report.documents:
            # The task has a file of its own, which counts.
            continue
        document, found = parse_document(file, part)
        report.add(found)
        if document is None:
            continue
        wanted = next((task for task, name in ANNOTATION_FILES.items() if name == file), document.task_type)
        if document.task_type != wanted:
            report.add([Problem(file, "task_type", f"is {document.task_type}, the file is for {wanted}")])
            continue
        report.add(problems(file, document))
        report.add(_missing_pictures(file, document, source.sizes))
        report.add(_large_names(file, document))
        report.documents[str(document.task_type)] = (file, document)


def _large_names(file: str, document: DiceDocument) -> list[Problem]:
    size = sum(len(entry.name.encode("utf-8", "replace")) for entry in document.classes)
    if size <= CLASS_NAMES_BYTES_MAX:
        return []
    return [Problem(file, "classes.name", f"have {size} bytes together, at most {CLASS_NAMES_BYTES_MAX} can be kept")]


def _json(source: Source, file: str, report: Report) -> Any:
    if (size := source.sizes[file]) > ANNOTATION_BYTES_MAX:
        report.add([Problem(file, "", f"has {size} bytes, at most {ANNOTATION_BYTES_MAX} are read")])
        return None
    try:
        raw = source.read(file)
    except UNREADABLE as error:
        report.add([Problem(file, "", f"cannot be read: {error}")])
        return None
    if raw.startswith(b"\xef\xbb\xbf"):
        report.add([Problem(file, "", "starts with a byte order mark; JSON has none", fatal=False)])
        raw = raw[3:]
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if b"NaN" in raw or b"Infinity" in raw:
            # No JSON, but Python writes it: read so, each such number is named with its place.
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(raw)
        hint = "; it looks like UTF-16, JSON is UTF-8" if b"\x00" in raw[:4] else ""
        report.add([Problem(file, "", f"is not JSON: {error}{hint}")])
        return None


def _missing_pictures(file: str, document: DiceDocument, sizes: dict[str, int]) -> list[Problem]:
    return [
        Problem(file, "images.file_name", "the picture is missing", image_label(image.id, image.file_name))
        for image in document.images
        if unsafe_name(image.file_name) is None and picture_name(image, sizes) is None
    ][:REPORTED_MAX]


def picture_name(image: DiceImage, sizes: dict[str, int]) -> str | None:
    """The file that holds the picture, None when there is none."""
    return next((name for name in image_paths(image) if name in sizes), None)


def _bad_pictures(source: Source, report: Report) -> list[Problem]:
    """Open pictures, as many as time allows; when it does not allow all, they are from everywhere in the data set."""
    images: dict[str, tuple[str, DiceImage]] = {}
    for file, document in report.documents.values():
        for image in document.images:
            name = picture_name(image, source.sizes)
            if name is not None:
                images.setdefault(name, (file, image))
    names = sorted(images)
    stride = max(1, len(names) // PICTURES_SPREAD)
    deadline = time.monotonic() + PICTURES_TIME_S
    large = threading.Lock()

    def look(name: str) -> Problem | Literal["no time"] | None:
        if time.monotonic() > deadline:
            return "no time"
        file, image = images[name]
        label = image_label(image.id, image.file_name)
        if source.sizes[name] > PICTURE_BYTES_MAX:
            message = f"has {source.sizes[name]} bytes, too many for a picture"
            return Problem(file, "images.file_name", message, label)
        # What takes much memory is opened one at a time.
        with large if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
            try:
                reason = picture_fault(source.read(name), image)
            except UNREADABLE as error:
                reason = f"the picture cannot be read: {error}"
            except MemoryError:
                reason = "opening the picture takes more memory than is allowed"
        return Problem(file, "images.file_name", reason, label) if reason else None

    with ThreadPoolExecutor(PICTURES_PARALLEL) as pool:
        looked = list(pool.map(look, [name for start in range(stride) for name in names[start::stride]]))
    found = [problem for problem in looked if isinstance(problem, Problem)]
    if unseen := looked.count("no time"):
        message = f"{len(names) - unseen} of {len(names)} pictures were opened; trainers open all of them"
        found.append(Problem("", "", message, fatal=False))
    return found


def summary(report: Report, task_type: str | None, split_strategy: dict[str, Any] | None) -> dict[str, Any]:
    """What the log will say of the data set: the fields of DatasetRegistered that come from its content.

    Splits are those of the task's annotations; without a task, of those with the most pictures. Raises InvalidStrategy.
    """
    first = next(iter(report.documents.values()))[1]
    largest = max((document for _, document in report.documents.values()), key=lambda document: len(document.images))
    if task_type in report.documents:
        largest = report.documents[task_type][1]
    splits = dict.fromkeys(SPLITS, 0)
    if split_strategy is not None:
        splits |= {name: len(dealt) for name, dealt in split(largest.images, parse_strategy(split_strategy)).items()}
    else:
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
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whoever asks the API meanwhile comes first.
    os.nice(NICENESS)
    # A process that ends soon: looking for cycles among millions of lists takes longer than reading them.
    gc.disable()
    answer = answer_to(request)
    json.dump(answer, sys.stdout)
    return 0


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    """What ``describe`` reads: one of missing, unavailable, split_strategy; else problems, warnings and summary."""
    address = urlsplit(request["endpoint"])
    client = Minio(
        address.netloc,
        access_key=request["access_key"],
        secret_key=request["secret_key"],
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=30), retries=2),
    )
    uri = request["uri"]
    try:
        source = open_source(client, uri)
        report = inspect(source)
        found = None
        if not report.problems and report.documents:
            found = summary(report, request["task_type"], request["split_strategy"])
    except S3Error as error:
        return {"missing": f"{uri}: {error.code}"}
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        return {"unavailable": f"S3 does not answer: {error}"}
    except InvalidStrategy as error:
        return {"split_strategy": error.problems}
    except ValueError as error:
        return {"missing": f"{uri}: {error}"}
    except (MemoryError, SystemError):
        return {"problems": [Problem("", "", "reading the data set takes more memory than is allowed").as_dict()]}
    return {"problems": listed(report.problems), "warnings": listed(report.warnings), "summary": found}


if __name__ == "__main__":
    raise SystemExit(main())
