"""From when on Kafka has erased a record, by its topic's settings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producers.kafka.keeping import CHECK_INTERVAL, Keeping, _keeping
from tests.builders import NOON

SETTINGS = {"cleanup.policy": "delete", "retention.ms": "1000", "segment.ms": "2000", "file.delete.delay.ms": "3000"}


@pytest.mark.parametrize("settings", [{"retention.ms": "-1"}, {"cleanup.policy": "compact"}])
def test_what_is_kept_for_ever_is_never_erased(settings: dict[str, str]) -> None:
    assert _keeping({**SETTINGS, **settings}).erased_from(NOON) is None


def test_a_record_lives_as_long_as_the_newest_one_that_its_segment_may_take() -> None:
    keeping = _keeping({**SETTINGS, "cleanup.policy": "compact,delete"})
    assert keeping == Keeping(timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=3))
    assert keeping.erased_from(NOON) == NOON + timedelta(seconds=6) + CHECK_INTERVAL
