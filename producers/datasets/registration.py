"""Describe a data set for registration: inspect it in a process of its own, refuse it with every problem named."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from pydantic import ValidationError

from events.types.datasets import DatasetRegistered
from events.types.splits import InvalidStrategy, parse_strategy
from events.types.vocabulary import JsonObject, storable
from producers.datasets import READING
from producers.errors import FieldProblem, Invalid

INSPECTION_TIMEOUT_S: Final = 60.0
WARNINGS_MAX: Final = 100
MEMORY_BYTES_MAX: Final = 2 * 1024**3
"""Address space of the process that reads."""


class StoreUnavailable(ConnectionError):
    """S3 does not answer now; the same request may succeed later."""


OUT_OF_MEMORY: Final = (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV)
"""How a process ends that ran into its limit inside a library."""
ERRORS_BYTES_MAX: Final = 64 * 1024
INSPECTIONS_MAX: Final = 2
_INSPECTIONS: Final = asyncio.Semaphore(INSPECTIONS_MAX)
"""More data sets at once wait: together they may not take more memory than a few processes are allowed."""


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
    strategy = _parsed(split_strategy)
    request = {"uri": uri, "memory_bytes_max": memory_bytes_max, "task_type": task_type, "split_strategy": strategy}
    report = await _inspect({**_request(store), **request})
    if "unavailable" in report:
        raise StoreUnavailable(report["unavailable"])
    if "missing" in report:
        raise Invalid(f"no data set lies at {uri}", [FieldProblem(("body", "s3_uri"), report["missing"], uri)])
    if "split_strategy" in report:
        raise _refused_strategy(report["split_strategy"])
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
            split_strategy=strategy,
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


def _parsed(split_strategy: JsonObject | None) -> JsonObject | None:
    """With all that was left out, so that the event says how the pictures are dealt out. Raises Invalid."""
    if split_strategy is None:
        return None
    try:
        return parse_strategy(split_strategy).model_dump(mode="json")
    except InvalidStrategy as error:
        raise _refused_strategy(error.problems) from error


def _refused_strategy(problems: Sequence[Sequence[str]]) -> Invalid:
    place = ("body", "split_strategy")
    found = [FieldProblem((*place, *filter(None, field.split("."))), message) for field, message in problems]
    return Invalid(f"split_strategy: {found[0].message}", found)


def _request(store: Store) -> dict[str, str]:
    return {"endpoint": store.endpoint, "access_key": store.access_key, "secret_key": store.secret_key}


def _place(problem: dict[str, str | None]) -> list[str]:
    return [part for part in (problem["file"], problem["image"], problem["field"]) if part]


async def _inspect(request: dict[str, Any]) -> dict[str, Any]:
    async with _INSPECTIONS:
        return await _inspected(request)


async def _inspected(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as errors:
        # The request travels on standard input: it holds a secret, and arguments can be read by everyone.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "producers.datasets.inspection"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
        try:
            async with asyncio.timeout(INSPECTION_TIMEOUT_S):
                output, _ = await process.communicate(json.dumps(request).encode())
        except TimeoutError:
            raise _gave_up(f"takes more than {INSPECTION_TIMEOUT_S:.0f} s", _lines(errors)) from None
        finally:
            # Also when whoever asked has gone away.
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            report: dict[str, Any] = json.loads(output)
            return report
        lines = _lines(errors)
    if process.returncode in OUT_OF_MEMORY or any("MemoryError" in line for line in lines[-1:]):
        raise _gave_up("takes more memory than is allowed", lines)
    raise RuntimeError(f"the inspection of a data set ended with {process.returncode}: {' '.join(lines[-1:])}")


def _lines(errors: IO[bytes]) -> list[str]:
    errors.seek(0)
    return errors.read(ERRORS_BYTES_MAX).decode("utf-8", "replace").strip().splitlines()


def _gave_up(why: str, lines: list[str]) -> Invalid:
    """The refusal of what could not be read to its end; the inspection says on standard error what it reads."""
    last = next((line.removeprefix(READING) for line in reversed(lines) if line.startswith(READING)), None)
    message = f"reading {last or 'the data set'} {why}"
    return Invalid(message, [FieldProblem(("data set", last) if last else ("body", "s3_uri"), message)])
