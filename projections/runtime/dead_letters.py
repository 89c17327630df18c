"""``python -m projections dead-letters``: what the API offers, for a terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Final

from events.envelope import Position
from producers.database import Pool, open_pool, transaction
from producers.dead_letter_queries import LetterFilter, find_places
from producers.dead_letters import BATCH_MAX, OPEN, Letter, Outcome, discard, find, place_text, redrive, show
from producers.errors import NotFound
from producers.kafka.publisher import KafkaPublisher, PublishFailed
from projections.settings import Settings

LISTED_DEFAULT: Final = 50
ALL_MAX: Final = 1_000_000


def add_verbs(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True)
    listed = verbs.add_parser("list", help="records that a read model could not apply, newest first")
    _add_filter(listed)
    listed.add_argument("--status", choices=("open", "redriven", "discarded"), help="default: all")
    listed.add_argument("--limit", type=int, default=LISTED_DEFAULT)
    shown = verbs.add_parser("show", help="one, with its headers and its value")
    shown.add_argument("read_model")
    shown.add_argument("position", type=position, help="topic/partition/offset, as list prints it")
    for name, what in (("redrive", "send again, after the cause is mended"), ("discard", "give up, with a reason")):
        verb = verbs.add_parser(name, help=what)
        verb.add_argument("positions", type=position, nargs="*", help="topic/partition/offset; none: see --all")
        verb.add_argument("--all", action="store_true", help="all open ones that the filter names")
        _add_filter(verb)
        verb.add_argument("--by", default="operator", help="who does this")
        if name == "redrive":
            verb.add_argument("--why", default="", help="stands in the log")
            verb.add_argument("--force", action="store_true", help="also what this code cannot read either")
        else:
            verb.add_argument("--why", required=True, help="stands in the log")


def _add_filter(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--read-model")
    verb.add_argument("--topic")
    verb.add_argument("--reason", help="a part of the reason's text")


def position(text: str) -> Position:
    """``topic/partition/offset``. Raises ArgumentTypeError."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdigit() and offset.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no position; wanted topic/partition/offset")
    return Position(topic, int(partition), int(offset))


def run(options: argparse.Namespace, settings: Settings) -> int:
    try:
        return asyncio.run(_run(options, settings))
    except (NotFound, PublishFailed) as error:
        print(error, file=sys.stderr)
        return 1


async def _run(options: argparse.Namespace, settings: Settings) -> int:
    pool = await open_pool(settings.database_url, size_max=2, name="epochlog dead-letters")
    try:
        if options.action == "list":
            return await _list(pool, options)
        if options.action == "show":
            async with transaction(pool, readonly=True) as tx:
                _print_whole(await show(tx, options.read_model, options.position))
            return 0
        return await _change(pool, options, settings)
    finally:
        await pool.close()


async def _list(pool: Pool, options: argparse.Namespace) -> int:
    wanted = LetterFilter(
        read_model=options.read_model, topic=options.topic, reason=options.reason, status=options.status
    )
    async with transaction(pool, readonly=True, snapshot=True) as tx:
        letters, total = await find(tx, wanted, options.limit)
    for letter in letters:
        for standing in letter.standings:
            print(
                f"{place_text(letter.record.position)}\t{standing.read_model}\t{standing.status}"
                f"\t{letter.append_time.isoformat()}\t{standing.reason}"
            )
    print(f"{len(letters)} of {total}", file=sys.stderr)
    return 0


async def _change(pool: Pool, options: argparse.Namespace, settings: Settings) -> int:
    """1 when something was left as it is."""
    if bool(options.positions) == options.all:
        print("name positions, or --all (which the filter narrows)", file=sys.stderr)
        return 2
    places = await _open_ones(pool, options) if options.all else options.positions
    publisher = KafkaPublisher(settings.kafka_bootstrap_servers, settings.topic_prefix)
    handled: set[Position] = set()
    left = 0
    try:
        for start in range(0, len(places), BATCH_MAX):
            outcome = await _batch(pool, publisher, options, places[start : start + BATCH_MAX])
            _print_outcome(options.action, outcome)
            handled |= {*outcome.done, *(place for place, _ in outcome.skipped)}
            left += len(outcome.skipped)
    finally:
        await publisher.close()
    if missing := [place_text(place) for place in places if place not in handled]:
        raise NotFound(f"no read model has a dead letter at {', '.join(missing)}")
    return 1 if left else 0


async def _open_ones(pool: Pool, options: argparse.Namespace) -> list[Position]:
    """As they are now, in the order of the log: what becomes a dead letter again meanwhile is for the next time."""
    wanted = LetterFilter(read_model=options.read_model, topic=options.topic, reason=options.reason, status=OPEN)
    async with transaction(pool, readonly=True, snapshot=True) as tx:
        places, _ = await find_places(tx, wanted, ALL_MAX)
    return sorted(places)


async def _batch(pool: Pool, publisher: KafkaPublisher, options: argparse.Namespace, places: list[Position]) -> Outcome:
    now = datetime.now(UTC)
    if options.action == "discard":
        return await discard(pool, places, by=options.by, reason=options.why, now=now)
    return await redrive(pool, publisher, places, by=options.by, reason=options.why, now=now, force=options.force)


def _print_outcome(action: str, outcome: Outcome) -> None:
    word = "sent again" if action == "redrive" else "discarded"
    for place in outcome.done:
        print(f"{word}: {place_text(place)}")
    for place, reason in outcome.skipped:
        print(f"left: {place_text(place)}: {reason}", file=sys.stderr)


def _print_whole(letter: Letter) -> None:
    record = letter.record
    print(f"position     {place_text(record.position)}")
    print(f"append time  {letter.append_time.isoformat()}")
    for standing in letter.standings:
        applied = {True: "applied since", False: "not applied", None: "has no number"}[standing.applied]
        print(f"read model   {standing.read_model}: {standing.status}, {applied}: {standing.reason}")
    for action in letter.actions:
        what = f"{action.read_model}: {action.action} by {action.by}: {action.reason}"
        print(f"action       {action.time.isoformat()} {what}")
    for place in letter.bad_again_at:
        print(f"bad again    {place_text(place)}")
    print(f"key          {_shown(record.key)}")
    for name, value in record.headers:
        print(f"header       {name}: {_shown(value)}")
    print(f"value        {_shown(record.value)}")


def _shown(raw: bytes | None) -> str:
    """Text where it is text that a terminal may be given, else Python's way of writing bytes."""
    if raw is None:
        return "none"
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return repr(raw)
    return text if text.isprintable() else repr(raw)
