"""Whether a JSON Schema that somebody registered can be checked against in a bounded time.

Python's regular expressions go back over every choice and hold the interpreter while they do: ``^(a+)+$`` on forty
letters stops a whole process, and no thread or deadline helps. So only patterns with a bounded number of choices pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from events.types.vocabulary import JsonObject

NODES_MAX: Final = 20_000
DEPTH_MAX: Final = 40
REFERENCES_MAX: Final = 500
PATTERN_LENGTH_MAX: Final = 200
TEXT_LENGTH_MAX: Final = 200
"""Of a text or a name that a pattern is checked on."""
COUNT_MAX: Final = 1_000
CHOICES_MAX: Final = 1_000_000
TOKEN: Final = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|\(\?|\(|\)|[*+?][?+]?|\{\d+\}[?+]?|\{\d*,\d*\}[?+]?|.", re.DOTALL
)
QUANTIFIER: Final = re.compile(r"([*+?])[?+]?|\{(\d*)(,?)(\d*)\}[?+]?")
LIST_TAIL: Final = re.compile(r"\((?:\?:)?([,;:/ _-]|\\\.)(\\d|\[[\w-]+\])(?:[*+]|\{\d+(?:,\d*)?\})\)[*+]")
"""The tail of a list, ``(,\\d+)*``: there is one way only to read it, for its separator is in none of its entries."""


def schema_danger(schema: JsonObject) -> str | None:
    """Why a check of it might not end, None when it will; regular expressions that are none are told as well."""
    nodes = references = 0
    for depth, node in _nodes(schema):
        nodes += 1
        if nodes > NODES_MAX:
            return f"has more than {NODES_MAX} parts"
        if depth > DEPTH_MAX:
            return f"is nested deeper than {DEPTH_MAX} levels"
        if not isinstance(node, dict):
            continue
        # The library would check that part by its own rules, without the bounds of ours.
        if depth and isinstance(node.get("$schema"), str):
            return "may name its dialect at the top only"
        references += isinstance(node.get("$ref"), str) + isinstance(node.get("$dynamicRef"), str)
        if references > REFERENCES_MAX:
            return f"has more than {REFERENCES_MAX} references"
        for pattern in _patterns(node):
            if danger := pattern_danger(pattern):
                return f"has the pattern {pattern[:PATTERN_LENGTH_MAX]!r}, which {danger}"
    return None


def _nodes(schema: JsonObject) -> Iterator[tuple[int, Any]]:
    waiting: list[tuple[int, Any]] = [(0, schema)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        if isinstance(node, dict):
            waiting += [(depth + 1, value) for value in node.values()]
        elif isinstance(node, list):
            waiting += [(depth + 1, value) for value in node]


def _patterns(node: JsonObject) -> list[str]:
    own, named = node.get("pattern"), node.get("patternProperties")
    return [*([own] if isinstance(own, str) else []), *(map(str, named) if isinstance(named, dict) else [])]


@lru_cache(maxsize=1_000)
def pattern_danger(pattern: str) -> str | None:
    """Why a pattern is not accepted, None when it is."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"is longer than {PATTERN_LENGTH_MAX} characters"
    try:
        choices = pattern_choices(pattern, TEXT_LENGTH_MAX)
        re.compile(pattern)
    except ValueError as error:
        return str(error)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return "has too many repetitions and alternatives" if choices > CHOICES_MAX else None


@lru_cache(maxsize=10_000)
def pattern_choices(pattern: str, length: int) -> int:
    """An upper bound of the ways to read a text of that length. Raises ValueError where there is none."""
    choices = 1
    # Of each group that is open: its alternatives, and whether it holds a quantifier or alternatives.
    alternatives, holds = [1], [False]
    closed_holds = False
    for token in TOKEN.findall(LIST_TAIL.sub(_one_way, pattern)):
        if token in ("(", "(?:"):
            alternatives.append(1)
            holds.append(False)
        elif token == "(?" or re.fullmatch(r"\\[1-9]", token):
            raise ValueError("has a back-reference, a look-around or a flag")
        elif token == "|":
            alternatives[-1] += 1
            holds[-1] = True
        elif token == ")" and len(holds) > 1:
            choices *= alternatives.pop()
            closed_holds = holds.pop()
            holds[-1] |= closed_holds
            continue
        elif found := QUANTIFIER.fullmatch(token):
            low, high = _counts(found, length)
            if high > 1 and closed_holds:
                raise ValueError("repeats a group that holds a repetition or alternatives")
            choices *= high - low + 1
            holds[-1] = True
        closed_holds = False
    return choices * alternatives[0]


def _one_way(found: re.Match[str]) -> str:
    separator, entry = found[1].removeprefix("\\"), found[2]
    return found[0] if re.fullmatch(entry, separator) else "x*"


def _counts(found: re.Match[str], length: int) -> tuple[int, int]:
    """The least and the largest number of times. Raises ValueError beyond COUNT_MAX."""
    sign, low_text, comma, high_text = found.groups()
    if sign:
        return (0, 1) if sign == "?" else (0, max(2, length))
    low = int(low_text or 0)
    high = int(high_text) if high_text else (max(low, 2, length) if comma else low)
    if max(low, high) > COUNT_MAX:
        raise ValueError(f"repeats something more than {COUNT_MAX} times")
    return low, high
