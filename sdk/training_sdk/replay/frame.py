"""Rows that are read when they are asked for: as batches, as a frame of any kind, or into a file."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from training_sdk.replay.columns import COMPRESSION

if TYPE_CHECKING:
    import pandas as pd

Batches = Iterator[pa.RecordBatch]


class Frame:
    """A table that is not read yet. Every use reads it anew, up to the end of the log as it then is.

    ``batches``, ``scan`` and the files hold one batch at a time; ``to_arrow``, ``to_polars`` and ``to_pandas`` hold
    the whole table, because that is what they return.
    """

    def __init__(self, schema: pa.Schema, read: Callable[[], Batches]) -> None:
        self.schema = schema
        self._read = read

    def batches(self) -> Batches:
        """The rows in pyarrow RecordBatches of bounded size. Raises what reading raises."""
        return self._read()

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_batches(self.batches(), self.schema)

    def to_polars(self) -> pl.DataFrame:
        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Whole numbers that are missing make their column float, as pandas does. Raises ImportError without pandas."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def scan(self) -> pl.LazyFrame:
        """A Polars LazyFrame: rows are filtered and columns chosen batch by batch while they are read."""
        return register_io_source(self._scanned, schema=self.polars_schema)

    def to_parquet(self, path: str | os.PathLike[str]) -> int:
        """Write a Parquet file, batch by batch; it is there when it is whole. Returns the number of rows."""
        with _whole_file(path) as file, pq.ParquetWriter(file, self.schema, compression=COMPRESSION) as writer:
            return self._each(writer.write_batch)

    def to_csv(self, path: str | os.PathLike[str]) -> int:
        """Write CSV with a header line. Returns the number of rows."""
        with _whole_file(path) as file:
            lines = _Lines(file)
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(self.schema.names)

            def write(batch: pa.RecordBatch) -> None:
                for row in batch.to_pylist():
                    writer.writerow([_cell(value) for value in row.values()])

            return self._each(write)

    def to_jsonl(self, path: str | os.PathLike[str]) -> int:
        """Write a JSON object a line. Returns the number of rows."""
        with _whole_file(path) as file:

            def write(batch: pa.RecordBatch) -> None:
                for row in batch.to_pylist():
                    file.write(orjson.dumps(_plain(row), option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

            return self._each(write)

    @property
    def polars_schema(self) -> pl.Schema:
        empty = pl.from_arrow(self.schema.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return empty.schema

    def _each(self, write: Callable[[pa.RecordBatch], None]) -> int:
        rows = 0
        for batch in self.batches():
            write(batch)
            rows += batch.num_rows
        return rows

    def _scanned(
        self, columns: list[str] | None, predicate: pl.Expr | None, rows_max: int | None, batch_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        with closing(self.batches()) as batches:  # type: ignore[type-var]  # generators all
            yield from narrowed(map(polars_of, batches), columns, predicate, rows_max)


def polars_of(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame


def narrowed(
    frames: Iterator[pl.DataFrame], columns: list[str] | None, predicate: pl.Expr | None, rows_max: int | None
) -> Iterator[pl.DataFrame]:
    """What Polars asks of a source: rows that pass, no more than ``rows_max``, in the columns that it will use."""
    left = rows_max
    for frame in frames:
        if predicate is not None:
            frame = frame.filter(predicate)
        if left is not None:
            frame = frame.head(left)
            left -= frame.height
        yield frame if columns is None else frame.select(columns)
        if left == 0:
            return


@contextmanager
def _whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file beside the one that is wanted, which it replaces when all was written."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class _Lines:
    """Text as a binary file takes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return value  # inf and nan: what readers of CSV know
    value = _plain(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return orjson.dumps(value).decode() if isinstance(value, (list, dict)) else value


def _plain(value: Any) -> Any:
    """What JSON can hold: numbers that are none as "NaN", "Infinity", "-Infinity"; bytes as text, odd ones escaped."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
