"""What somebody asked of a run, and what the platform asked of it by itself: who and why.

Asking to stop is as old as jobs are and stands in events.types.jobs.
"""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Fact, Text


class PauseRequested(Fact):
    requested_by: Text
    reason: Text


class ResumeRequested(Fact):
    requested_by: Text
    reason: Text


class CancelRequested(Fact):
    """To end soon, whatever is lost by it."""

    requested_by: Text
    reason: Text


class RetryRequested(Fact):
    """To try again after a failure, in a new attempt from the last checkpoint that can be gone on from."""

    requested_by: Text
    reason: Text
    automatic: bool = Field(default=False, description="the launcher asked, because the cause may be gone by itself")


class LimitExceeded(Fact):
    """The run used more than it may, and is ended for it."""

    limit: Text = Field(description="max_seconds, max_memory_bytes or max_storage_bytes")
    allowed: float = Field(ge=0, allow_inf_nan=False)
    used: float = Field(ge=0, allow_inf_nan=False)
    error_code: Text
    reason: Text = Field(description="for people")
