"""What the trainers' configurations have in common: one check, by the schema that the API checks with as well."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from events.config_check import as_handed_on, config_problems
from events.config_schema import PLATFORM_KEYS, schema_of
from events.types.vocabulary import JsonObject

Basic = TypeVar("Basic", bound=BaseModel)
Advanced = TypeVar("Advanced", bound=BaseModel)


class InvalidConfig(ValueError):
    """Every problem of the configuration, in one message."""


@cache
def _schema(basic_kind: type[BaseModel], advanced_kind: type[BaseModel]) -> JsonObject:
    return schema_of("", basic_kind, advanced_kind)


def read_parts(
    basic_kind: type[Basic], advanced_kind: type[Advanced], basic: dict[str, Any], advanced: dict[str, Any]
) -> tuple[Basic | None, Advanced | None, list[str]]:
    """Both parts, and what is wrong with them: the problems of the schema, or what only the models themselves see.

    None for a part that could not be read. The platform's keys and empty values are no business of a trainer.
    """
    own = {name: value for name, value in basic.items() if name not in PLATFORM_KEYS and value not in (None, "")}
    basic = as_handed_on(own)
    problems = [str(found) for found in config_problems(_schema(basic_kind, advanced_kind), basic, advanced)]
    read: list[Any] = []
    for part, kind, given in (("config", basic_kind, basic), ("advanced_config", advanced_kind, advanced)):
        try:
            read.append(kind.model_validate(given))
        except ValidationError as error:
            read.append(None)
            if not any(problem.startswith(f"{part}.") for problem in problems):
                problems += [
                    f"{'.'.join([part, *(str(step) for step in fault['loc'])])}: {fault['msg']}"
                    for fault in error.errors(include_url=False)
                ]
    return read[0], read[1], problems
