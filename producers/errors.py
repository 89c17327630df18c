"""Why something was not accepted. Each carries its HTTP status, so that one handler renders them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One fault of a request: where, what, and the value where it is short enough to show."""

    location: tuple[str | int, ...]
    message: str
    value: Any = None

    def as_dict(self) -> dict[str, Any]:
        shown = {} if self.value is None else {"value": self.value}
        return {"location": list(self.location), "message": self.message, **shown}


class NotAccepted(Exception):
    """The request changes nothing."""

    status = 400
    title = "Not accepted"

    def __init__(self, detail: str, problems: list[FieldProblem] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems or []


class NotFound(NotAccepted):
    status = 404
    title = "Not found"


class Gone(NotAccepted):
    """It was there, and was erased for good."""

    status = 410
    title = "Gone"


class Refused(NotAccepted):
    """The state of the thing forbids it."""

    status = 409
    title = "Conflict"


class Invalid(NotAccepted):
    """The request cannot be right, whatever the state is."""

    status = 422
    title = "Invalid request"
