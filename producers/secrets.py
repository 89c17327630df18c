"""Secrets have no place in a job: what is given there stands in the log for ever."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from producers.errors import FieldProblem
from training_sdk.secrets import SECRET_NAME

SECRET_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.I)
DEPTH_MAX: Final = 64
ADVICE: Final = (
    "looks like a secret; a job's configuration is kept in the log for ever and shown to everyone. Set it in the "
    "environment of the launcher and name the variable in its EPOCHLOG_TRAINER_VARIABLES: trainers find it there"
)


def secret_problems(part: str, config: Any, known: Collection[str] = ()) -> list[FieldProblem]:
    """One problem for each name or value that looks like a secret; the value itself is never repeated.

    ``known`` are names that the model's schema lists: a parameter that a trainer announces holds no secret.
    """
    return [FieldProblem(location, ADVICE) for location in _secrets(("body", part), config, known)]


def _secrets(location: tuple[str | int, ...], value: Any, known: Collection[str]) -> Iterator[tuple[str | int, ...]]:
    if len(location) > DEPTH_MAX:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if looks_secret(name) and name not in known:
                yield (*location, name)
            else:
                yield from _secrets((*location, name), item, known)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets((*location, index), item, known)
    elif isinstance(value, str) and SECRET_URL.search(value):
        yield location


def looks_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None
