"""What a comparison found, and how it is said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

VALUE_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of one row, or a whole row (``column`` None) that only one of the two has (the other is None)."""

    table: str
    key: Mapping[str, Any]
    column: str | None
    live: Any
    rebuilt: Any

    def __str__(self) -> str:
        row = ", ".join(f"{name}={value}" for name, value in self.key.items())
        if self.column is None:
            what = "is missing in the live one" if self.live is None else "is in the live one alone"
            return f"{self.table} ({row}) {what}"
        return f"{self.table} ({row}) {self.column}: live {short(self.live)}, rebuilt {short(self.rebuilt)}"

    def document(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "key": dict(self.key),
            "column": self.column,
            "live": self.live,
            "rebuilt": self.rebuilt,
        }


@dataclass(slots=True)
class Comparison:
    """``rows`` counts the rows that differ, by table; ``shown`` are the first of their differences."""

    rows: dict[str, int] = field(default_factory=dict)
    shown: list[Difference] = field(default_factory=list)
    not_comparable: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    @property
    def equal(self) -> bool:
        return self.total == 0

    def add(self, table: str, total: int, differences: Iterable[Difference]) -> None:
        if total:
            self.rows[table] = self.rows.get(table, 0) + total
            self.shown += differences

    def add_rows(self, table: str, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """``rows``: live and rebuilt, one of which may be None; each says in ``total`` how many there are in all."""
        named = [one for row in rows for one in row_differences(table, key, row["live"], row["rebuilt"])]
        self.add(table, rows[0]["total"] if rows else 0, named)

    def document(self) -> dict[str, Any]:
        return {
            "equal": self.equal,
            "rows_that_differ": self.total,
            "by_table": dict(self.rows),
            "differences": [one.document() for one in self.shown],
            "not_comparable": list(self.not_comparable),
        }


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}..."


def row_differences(
    table: str, key_columns: Iterable[str], live: Mapping[str, Any] | None, rebuilt: Mapping[str, Any] | None
) -> list[Difference]:
    """Of two rows with one key, one of which may be missing: a difference each column, or one for the whole row."""
    found = live if live is not None else rebuilt
    assert found is not None
    key = {name: found[name] for name in key_columns}
    if live is None or rebuilt is None:
        return [Difference(table, key, None, _as_dict(live), _as_dict(rebuilt))]
    # Texts of numbers: NaN is not equal to itself.
    columns = [name for name in live if repr(live[name]) != repr(rebuilt[name])]
    return [Difference(table, key, column, live[column], rebuilt[column]) for column in columns]


def _as_dict(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else dict(row)
