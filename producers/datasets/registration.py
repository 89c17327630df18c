"""Describe a data set for registration: inspect it in a process of its own, refuse it with every problem named."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from events.types.datasets import DatasetRegistered
from events.types.vocabulary import JsonObject, storable
from producers.errors import FieldProblem, Invalid

INSPECTION_TIMEOUT_S: Final = 60.0
WARNINGS_MAX: Final = 100
MEMORY_BYTES_MAX: Final = 2 * 1024**3
"""Address space of the process that reads."""


class StoreUnavailable(ConnectionError):
    """S3 does not answer now; the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Store:
    endpoint: str
    access_key: str
    secret_key: str


async def describe(
    store: Store,
    uri: str,
    *,
    name: str,
    description: str | None,
    task_type: str | None,
    split_strategy: JsonObject | None,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
) -> DatasetRegistered:
    """The data set's registration, its id still 0.

    Raises Invalid when it cannot be trained on (``problems`` names file, image and field) and StoreUnavailable.
    """
    report = await _inspect({**_request(store), "uri": uri, "memory_bytes_max": memory_bytes_max})
    if "unavailable" in report:
        raise StoreUnavailable(report["unavailable"])
    if "missing" in report:
        raise Invalid(f"no data set lies at {uri}", [FieldProblem(("body", "s3_uri"), report["missing"], uri)])
    if report["problems"]:
        found = [FieldProblem(("data set", *_place(problem)), problem["message"]) for problem in report["problems"]]
        raise Invalid(f"the data set at {uri} has {len(found)} problems", found)
    summary: dict[str, Any] = report["summary"]
    if task_type is not None and task_type not in summary["task_types"]:
        message = f"the data set has annotations for {', '.join(summary['task_types'])} only"
        raise Invalid(message, [FieldProblem(("body", "task_type"), message, str(task_type))])
    try:
        return DatasetRegistered(
            dataset_id=0,
            name=name,
            description=description,
            storage_path=uri,
            split_strategy=split_strategy,
            warnings=[": ".join([*_place(found), found["message"]]) for found in report["warnings"][:WARNINGS_MAX]],
            **storable(summary),
        )
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        found = [FieldProblem(("data set", *fault["loc"]), fault["msg"]) for fault in faults]
        raise Invalid(f"the data set at {uri} cannot be described: {found[0].message}", found) from error
    except ValueError as error:
        message = f"the name of a class {error}"
        raise Invalid(f"the data set at {uri}: {message}", [FieldProblem(("data set", "classes"), message)]) from error


def _request(store: Store) -> dict[str, str]:
    return {"endpoint": store.endpoint, "access_key": store.access_key, "secret_key": store.secret_key}


def _place(problem: dict[str, str | None]) -> list[str]:
    return [part for part in (problem["file"], problem["image"], problem["field"]) if part]


async def _inspect(request: dict[str, str | int]) -> dict[str, Any]:
    # The request travels on standard input: it holds a secret, and arguments can be read by everyone.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "producers.datasets.inspection"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(INSPECTION_TIMEOUT_S):
            output, errors = await process.communicate(json.dumps(request).encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        message = f"reading the data set took more than {INSPECTION_TIMEOUT_S:.0f} s"
        raise Invalid(message, [FieldProblem(("body", "s3_uri"), message)]) from None
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        if process.returncode in (-9, -6, -11) or any("MemoryError" in line for line in last):
            message = "reading the data set takes more memory than is allowed"
            raise Invalid(message, [FieldProblem(("body", "s3_uri"), message)])
        raise RuntimeError(f"the inspection of a data set ended with {process.returncode}: {' '.join(last)}")
    report: dict[str, Any] = json.loads(output)
    return report
