"""One session on one topic: how much was sent, how much the log has, how much each read model applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from api.jobs import ranges
from api.jobs.completeness import READ_MODELS_OF, Integrity, judge, worst
from api.jobs.ranges import Ranges
from events.dedupe import SessionMarks
from events.envelope import Position


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record of the session that lies beside a read model instead of in it."""

    read_model: str
    position: Position
    seq: int
    status: str


@dataclass(frozen=True, slots=True)
class Drop:
    """What the sender had to leave out, as it said itself under the number ``seq``."""

    position: Position
    seq: int
    from_seq: int | None
    to_seq: int | None
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of the session on the topic. ``sent`` is None where the sender gave no last number; ``unsent`` of
    them wait in the outbox. ``marks`` has every read model of the topic; ``caught_up`` those that applied all there is.
    """

    topic: str
    sent: int | None
    unsent: int = 0
    goes_on: bool = False
    marks: Mapping[str, SessionMarks]
    caught_up: frozenset[str] = frozenset()
    dead: Sequence[DeadRecord] = ()
    drops: Sequence[Drop] = ()


@dataclass(frozen=True, slots=True)
class ModelLine:
    read_model: str
    applied: int
    missing: Ranges
    verdict: Integrity


@dataclass(frozen=True, slots=True)
class Line:
    """``in_log`` counts numbers, not records: a repeat counts once. ``missing`` are not in the log."""

    in_log: int
    missing: Ranges
    models: tuple[ModelLine, ...]
    verdict: Integrity
    reasons: tuple[str, ...] = field(default=())


def line_of(found: Found) -> Line:
    known = max([0, *(seen.high for seen in found.marks.values()), *(dead.seq for dead in found.dead)])
    largest = known if found.sent is None else found.sent
    not_applied = {model: _missing(seen, largest) for model, seen in found.marks.items()}
    in_none: Ranges = ((1, largest),) if largest else ()
    for missing in not_applied.values():
        in_none = ranges.in_both(in_none, missing)
    # A dead letter was read from the log, though no read model could apply it.
    missing = ranges.without(in_none, (dead.seq for dead in found.dead))
    models = tuple(
        ModelLine(
            model,
            largest - ranges.count(not_applied[model]),
            not_applied[model],
            _verdict(found, seen, caught_up=model in found.caught_up),
        )
        for model, seen in sorted(found.marks.items())
    )
    counting = [line.verdict for line in models if line.read_model in _counting(found.topic)]
    dropped = [Integrity.INCOMPLETE] if found.drops else []
    reasons = tuple(_reasons(found, missing, not_applied))
    return Line(largest - ranges.count(missing), missing, models, worst([*counting, *dropped]), reasons)


def _counting(topic: str) -> Sequence[str]:
    """What a reader of a run looks at: a mirror elsewhere that lags proves nothing."""
    return READ_MODELS_OF.get(topic, ("system",))


def _missing(seen: SessionMarks, largest: int) -> Ranges:
    tail = ((seen.high + 1, largest),) if seen.high < largest else ()
    return (*ranges.up_to(seen.gaps, largest), *tail)


def _verdict(found: Found, seen: SessionMarks, *, caught_up: bool) -> Integrity:
    if found.sent is None:
        return Integrity.PENDING if found.goes_on else Integrity.NOT_PROVABLE
    return judge(found.sent, seen, caught_up=caught_up and not found.unsent)


def _reasons(found: Found, missing: Ranges, not_applied: Mapping[str, Ranges]) -> list[str]:
    reasons = []
    if found.sent is None:
        unknown = "the sender never said its last number: how much it sent is unknown"
        reasons.append("the sender goes on" if found.goes_on else unknown)
    elif (beyond := max([0, *(seen.high for seen in found.marks.values())])) > found.sent:
        reasons.append(f"the log has numbers up to {beyond}, more than the sender said")
    if found.unsent:
        reasons.append(f"{found.unsent} facts wait in the outbox for the log")
    if missing and not found.unsent:
        # One that has read all there is suffices: it would have seen them.
        read = not found.caught_up.isdisjoint(found.marks)
        where = "are not in the log, which was read to its end" if read else "were not seen in the log yet"
        reasons.append(f"numbers {ranges.text(missing)} {where}")
    for dead in found.dead:
        place = dead.position
        where = f"{place.topic}/{place.partition}/{place.offset}"
        reasons.append(f"number {dead.seq} is a dead letter of {dead.read_model} at {where} ({dead.status})")
    for model in _counting(found.topic):
        gone = not_applied.get(model, ())
        mine = [dead.seq for dead in found.dead if dead.read_model == model]
        rest = ranges.without(gone, mine)
        if rest and rest != missing:
            reasons.append(f"numbers {ranges.text(rest)} are not applied by {model}")
    reasons += [f"the sender left {drop.count} calls or lines out: {drop.reason}" for drop in found.drops]
    return reasons
