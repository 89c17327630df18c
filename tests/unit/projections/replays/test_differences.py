from __future__ import annotations

import json

import pytest

from events.topics import PARTITIONS
from projections.core.logs import line_id
from projections.registry import PROJECTIONS, of_process, projection_named
from projections.replays.commands import named
from projections.replays.differences import VALUE_LENGTH_MAX, Comparison, Difference, row_differences
from projections.runtime.expired import PLACES

ROW = {"id": 1, "name": "a", "value": 0.5}


def test_each_column_that_differs_is_named() -> None:
    found = row_differences("models", ["id"], {**ROW, "name": "b", "value": None}, ROW)
    assert found == [
        Difference("models", {"id": 1}, "name", "b", "a"),
        Difference("models", {"id": 1}, "value", None, 0.5),
    ]
    assert str(found[0]) == "models (id=1) name: live 'b', rebuilt 'a'"


@pytest.mark.parametrize("value", [float("nan"), None, [1.0, float("nan")], {"a": [1]}])
def test_equal_values_are_no_difference_not_even_nan(value: object) -> None:
    assert row_differences("models", ["id"], {"id": 1, "v": value}, {"id": 1, "v": value}) == []


def test_a_row_that_one_side_lacks_is_one_difference() -> None:
    (missing,) = row_differences("models", ["id"], None, ROW)
    (extra,) = row_differences("models", ["id"], ROW, None)
    assert (missing.column, missing.live, missing.rebuilt) == (None, None, ROW)
    assert str(missing) == "models (id=1) is missing in the live one"
    assert str(extra) == "models (id=1) is in the live one alone"


def test_all_rows_are_counted_and_only_some_are_shown() -> None:
    found = Comparison()
    assert found.equal
    found.add_rows("empty", ["id"], [])
    assert found.equal and found.rows == {}
    found.add_rows("models", ["id"], [{"live": ROW, "rebuilt": None, "total": 7_000}])
    found.add_rows("models", ["id"], [{"live": None, "rebuilt": ROW, "total": 1}])
    assert (found.total, found.rows, len(found.shown)) == (7_001, {"models": 7_001}, 2)
    document = json.loads(json.dumps(found.document()))
    assert (document["equal"], document["rows_that_differ"]) == (False, 7_001)


def test_long_values_are_cut_where_people_read_them() -> None:
    said = str(Difference("t", {"id": 1}, "c", "x" * 5_000, "y"))
    assert len(said) < VALUE_LENGTH_MAX + 100 and said.endswith("..., rebuilt 'y'")


def test_read_models_are_named_alone_or_by_their_process() -> None:
    assert named(["logs", "models", "logs"]) == (projection_named("logs"), projection_named("models"))
    assert named(["core", "logs"]) == of_process("core")
    assert len(named([projection.process for projection in PROJECTIONS])) == len(PROJECTIONS)
    with pytest.raises(KeyError, match="no read model is called 'nothing'; there are jobs, "):
        named(["nothing"])


def test_the_place_of_a_log_line_can_be_told_from_its_id() -> None:
    partition, offset = (text.replace("/", "//") for text in PLACES["training_logs"])
    for place in [(0, 0, 0), (11, 0, 7), (3, 123_456, 0), (PARTITIONS - 1, 10**12, 99)]:
        names = {"id": line_id(*place)}
        assert (eval(partition, names), eval(offset, names)) == place[:2]
