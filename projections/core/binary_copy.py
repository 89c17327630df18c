"""Rows with large arrays in Postgres' binary COPY format.

asyncpg looks at every element of an array in Python; here numpy writes them all at once. Sources of the formats: the
manual's page on COPY ("Binary Format"), and array_send in PostgreSQL's arrayfuncs.c. All numbers are big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER: Final = struct.pack(">h", -1)
NULL: Final = struct.pack(">i", -1)
FLOAT8_OID: Final = 701
INT8_OID: Final = 20
_FLOAT_ELEMENT: Final = [("length", ">i4"), ("value", ">f8")]
_INTEGER_ELEMENT: Final = [("length", ">i4"), ("value", ">i8")]


def field(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def text_field(text: str) -> bytes:
    return field(text.encode())


def int4_field(number: int) -> bytes:
    return struct.pack(">ii", 4, number)


def int8_field(number: int) -> bytes:
    return struct.pack(">iq", 8, number)


def float8_field(number: float | None) -> bytes:
    return NULL if number is None else struct.pack(">id", 8, number)


def float8_array_field(values: Sequence[float]) -> bytes:
    """A one-dimensional ``double precision[]`` without NULLs."""
    return field(_array(FLOAT8_OID, _FLOAT_ELEMENT, values))


def int8_array_field(values: Sequence[int]) -> bytes:
    """A one-dimensional ``bigint[]`` without NULLs."""
    return field(_array(INT8_OID, _INTEGER_ELEMENT, values))


def _array(element_oid: int, element: list[tuple[str, str]], values: Sequence[float]) -> bytes:
    # Imported where it is used: processes that only know the table of read models save its megabytes.
    import numpy

    elements = numpy.empty(len(values), dtype=element)
    elements["length"] = 8
    elements["value"] = values
    dimensions, has_nulls, first_index = 1, 0, 1
    return struct.pack(">iiiii", dimensions, has_nulls, element_oid, len(values), first_index) + elements.tobytes()


def copy_stream(rows: Iterable[Sequence[bytes]]) -> bytes:
    """The whole stream for ``COPY ... FROM STDIN (FORMAT binary)``: each row is a sequence of encoded fields."""
    tuples = [struct.pack(">h", len(row)) + b"".join(row) for row in rows]
    return b"".join([SIGNATURE, *tuples, TRAILER])
