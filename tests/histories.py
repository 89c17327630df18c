"""Any sequence of events: plausible and implausible ones of several jobs, as records of a topic, for property tests.

What varies is what folds look at; every other event type there is comes as its golden example, so a new type is tried
without a word here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import orjson
from hypothesis import strategies as st

from events.envelope import Record
from events.registry import EVENT_TYPES
from events.types.vocabulary import JsonObject, utc_text
from tests.builders import NOON
from training_sdk.wire import JOB_TOPICS, METRICS, WireEvent, partition_of

EXAMPLES: Final = Path(__file__).parent.parent / "events" / "examples"
OFFSET_STEP: Final = 10
"""Between two records of the log there is room for those that were sent again."""
PARTS_MIN, PARTS_MAX = 6, 20

Data = st.SearchStrategy[JsonObject]
number = st.integers(0, 6)
maybe = st.none() | number
names_of_metrics = ("mAP50", "loss", "metrics/mAP50(B)", "train/loss", "refused")
value = st.sampled_from((0.1, 0.5, 0.55, 0.9, 1e9, -3, None, "NaN", "Infinity"))
early_stopping = st.sampled_from(
    (
        *({"metric": "mAP50", "patience": 1}, {"metric": "mAP50", "patience": 2, "min_delta": 0.1}),
        *({"metric": "train/loss", "target": 0.5}, {"metric": "val/loss", "patience": 1}),
        *(None, {"enabled": False}, {"patience": "three", "colour": "blue"}),
    )
)


def some(**fields: Any) -> Data:
    """An object of these fields; a field of None is left out."""
    strategies = {
        name: field if isinstance(field, st.SearchStrategy) else st.just(field) for name, field in fields.items()
    }
    return st.fixed_dictionaries(strategies).map(
        lambda found: {name: field for name, field in found.items() if field is not None}
    )


@st.composite
def reports(draw: st.DrawFn) -> JsonObject:
    rows = draw(st.integers(1, 4))
    names = draw(st.lists(st.sampled_from(names_of_metrics), unique=True, max_size=3))
    whole = draw(st.booleans())
    return {
        "phase": draw(st.sampled_from(("val", "val", "train", "test"))),
        "steps": [None if whole else draw(number) for _ in range(rows)],
        "epochs": [draw(st.sampled_from((1, 2, 3, None))) for _ in range(rows)],
        "times": [NOON.timestamp() + draw(number) for _ in range(rows)],
        "values": {name: [draw(value) for _ in range(rows)] for name in names},
    }


opened = some(
    sender=st.sampled_from(("sdk", "outbox", "supervisor")),
    resume_step=maybe,
    resume_epoch=maybe,
    total_epochs=maybe,
    early_stopping=early_stopping,
)
saved = some(
    epoch=maybe,
    step=maybe,
    checkpoint_path="s3://c/25/last.pt",
    object_uri=st.sampled_from((None, "s3://c/25/one.pt", "s3://c/25/two.pt")),
    is_best=st.booleans(),
    resumable=st.sampled_from((None, True, False)),
    # Postgres cannot hold the last one.
    file_size_bytes=st.sampled_from((None, 7, 2**63)),
)
line = some(level="INFO", message=st.sampled_from(("a", "\x00", "😀")), timestamp="2026-01-02T12:00:00Z")
VARIED: Final[dict[str, Data]] = {
    "training.metrics.reported.v1": reports(),
    "training.session.opened.v1": opened,
    "training.session.opened.v2": opened,
    "training.session.closed.v1": some(
        session=st.sampled_from(("sdk-25-1", "sdk-26-2")),
        last_seq=st.dictionaries(st.sampled_from(JOB_TOPICS), number),
        closed_by="sdk",
    ),
    "training.job.created.v1": some(
        model_name=st.sampled_from(("yolo11n", "resnet18")),
        task_type=st.sampled_from(("detection", "classification", "other")),
        dataset_id=number,
        launch=st.booleans(),
        config=some(epochs=maybe, max_retries=maybe, early_stopping=early_stopping),
    ),
    "training.job.described.v1": some(
        name=st.sampled_from((None, "", "b")), tags=st.sampled_from((None, [], ["x", "y"])), requested_by="api"
    ),
    "training.job.started.v1": some(pid=number, total_epochs=maybe),
    "training.progress.reported.v1": some(epoch=number, total_epochs=number, phase="train"),
    "training.checkpoint.saved.v1": saved,
    "training.checkpoint.saved.v2": saved,
    "training.job.failed.v1": some(error_code=st.sampled_from(("OOM", "PROCESS_DIED", "X")), error_message="it ended"),
    "training.job.stopped.v1": some(stopped_at_epoch=maybe),
    "training.process.exited.v1": some(
        exit_code=st.sampled_from((None, 0, 1)), signal=st.sampled_from((None, "SIGKILL"))
    ),
    "training.log.written.v1": some(lines=st.lists(line, max_size=3)),
    "training.retry.requested.v1": some(requested_by="launcher", reason="again", automatic=st.booleans()),
}
BROKEN: Final[tuple[dict[str, Any], ...]] = (
    *({"value": b"no JSON at all"}, {"value": b"[]"}, {"value": None}, {"key": b"no number"}, {"key": None}),
    *({"header": ("ce_type", b"training.unknown.v9")}, {"header": ("ce_seq", b"0")}, {"header": ("ce_id", b"x")}),
)


OFTEN: Final = {
    "training.metrics.reported.v1": 24,
    "training.session.opened.v1": 3,
    "training.session.opened.v2": 3,
    "training.log.written.v1": 12,
    "training.heartbeat.sent.v1": 6,
    "training.system.sampled.v1": 6,
    "training.artifact.saved.v1": 6,
    "training.checkpoint.saved.v2": 6,
}
"""What a topic is for comes more often than the rest: a purge ends what there is to see of a job."""


@dataclass(frozen=True, slots=True)
class Said:
    """An event and its way into the log: how many later ones overtake it, and after how many it is there again.

    ``lost``: its number is missing. ``numbered_again``: a broken sender gives it the number of the one before.
    """

    key: str
    attempt: int
    rank: int
    sender: str
    seconds: int
    type: str
    data: JsonObject
    overtaken_by: int = 0
    lost: bool = False
    numbered_again: bool = False
    broken: int | None = None
    again_after: tuple[int, ...] = ()

    @property
    def session(self) -> str:
        return f"{self.sender}-{self.key}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class History:
    """``once`` is the log without what was sent again, ``log`` the whole: the others stand at the same offsets."""

    once: tuple[Record, ...]
    log: tuple[Record, ...]


def example_of(wire_name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((EXAMPLES / f"{wire_name}.json").read_bytes())
    return found


def types_of(topic: str) -> list[str]:
    return [kind.wire_name for kind in EVENT_TYPES if topic in kind.topics]


def said_on(topic: str) -> st.SearchStrategy[Said]:
    types = types_of(topic)
    often = [name for name in types for _ in range(OFTEN.get(name, 1))]
    if topic in JOB_TOPICS:
        keys: tuple[str, ...] = ("25", "25", "26", "26", "27")
    else:
        keys = tuple(sorted({example_of(name)["key"] for name in types if not name.startswith("training.session")}))

    def of_type(name: str) -> st.SearchStrategy[Said]:
        return st.builds(
            Said,
            key=st.sampled_from(keys),
            attempt=st.sampled_from((1,) * 12 + (2, 2, 3, 0)),
            rank=st.integers(0, 1),
            sender=st.sampled_from(("sdk", "outbox")),
            seconds=st.integers(0, 600),
            type=st.just(name),
            data=VARIED[name] if name in VARIED else st.just(example_of(name)["data"]),
            overtaken_by=st.sampled_from((0, 0, 0, 1, 2, 5)),
            lost=st.sampled_from((False,) * 9 + (True,)),
            numbered_again=st.sampled_from((False,) * 9 + (True,)),
            broken=st.sampled_from((None,) * 20 + tuple(range(len(BROKEN)))),
            again_after=st.sampled_from(((), (), (0,), (1,), (3, 7))),
        )

    return st.sampled_from(often).flatmap(of_type)


@st.composite
def watched_run(draw: st.DrawFn) -> list[Said]:
    """An attempt as a trainer reports it, that early stopping watches: epochs in order, validation after training."""
    sender: dict[str, Any] = {
        "key": draw(st.sampled_from(("25", "26"))),
        "attempt": draw(st.sampled_from((1, 1, 2))),
        "rank": 0,
        "sender": "sdk",
        "seconds": draw(st.integers(0, 600)),
    }
    again = st.sampled_from(((), (0,), (2,)))
    data: JsonObject = {"sender": "sdk", "early_stopping": {"metric": "mAP50", "patience": 3}}
    if (resumed := draw(maybe)) is not None:
        data["resume_epoch"] = resumed
    run = [Said(type="training.session.opened.v2", data=data, again_after=draw(again), **sender)]
    values = draw(st.lists(st.sampled_from((0.1, 0.4, 0.5, 0.55, "NaN")), min_size=2, max_size=6))
    for epoch, validated in enumerate(values, start=(resumed or 0) + 1):
        reports = [("train", epoch, {"loss": [0.5]}), ("val", None, {"mAP50": [validated]})]
        if draw(st.booleans()):
            reports.append(("val", None, {"mAP50": [0.3]}))  # once more: the last one counts
        for phase, step, columns in reports:
            place: JsonObject = {"phase": phase, "steps": [step], "epochs": [epoch], "times": [0.0]}
            overtaken, sent_again = draw(st.sampled_from((0, 0, 0, 0, 2))), draw(again)
            said = Said(type="training.metrics.reported.v1", data={**place, "values": columns}, **sender)
            run.append(replace(said, overtaken_by=overtaken, again_after=sent_again))
    return run


def histories(topic: str) -> st.SearchStrategy[History]:
    anything = said_on(topic).map(lambda one: [one])
    part = anything if topic != METRICS else st.one_of(anything, watched_run())
    # Few events have little to disagree about, and Hypothesis begins with none.
    lists = st.lists(part, min_size=PARTS_MIN, max_size=PARTS_MAX)
    return lists.map(lambda parts: history_of(topic, [one for said in parts for one in said]))


def history_of(topic: str, said: Sequence[Said]) -> History:
    numbered: list[tuple[int, Said, int]] = []
    last: dict[str, int] = {}
    for index, one in enumerate(said):
        seq = last.get(one.session, 0) + (0 if one.numbered_again and one.session in last else 1)
        last[one.session] = seq
        if not one.lost:
            numbered.append((index + one.overtaken_by, one, seq))
    numbered.sort(key=lambda found: found[0])
    once, again, taken = [], [], set[tuple[int, int]]()
    for place, (_, one, seq) in enumerate(numbered, start=1):
        record = _record(topic, one, seq, place * OFFSET_STEP)
        once.append(record)
        # What is refused is parked each time that it comes.
        refused = one.broken is not None or "refused" in one.data.get("values", ()) or _too_large(one.data)
        for nearness, after in enumerate(() if refused else one.again_after, start=1):
            offset = (place + after) * OFFSET_STEP + nearness
            while (record.partition, offset) in taken:
                offset += 2
            taken.add((record.partition, offset))
            again.append(replace(record, offset=offset, timestamp_ms=_append_time_ms(offset)))
    both = sorted((*once, *again), key=lambda record: (record.partition, record.offset))
    assert len({(record.partition, record.offset) for record in both}) == len(both)
    return History(tuple(sorted(once, key=lambda record: (record.partition, record.offset))), tuple(both))


def _too_large(data: JsonObject) -> bool:
    return (data.get("file_size_bytes") or 0) >= 2**63


def _append_time_ms(offset: int) -> int:
    return int(NOON.timestamp() * 1000) + offset * 100


def _record(topic: str, one: Said, seq: int, offset: int) -> Record:
    message = WireEvent(
        topic=topic,
        key=one.key,
        type=one.type,
        time=utc_text(NOON + timedelta(seconds=one.seconds)),
        source=f"/jobs/{one.key}/attempts/{one.attempt}/ranks/{one.rank}",
        attempt=one.attempt,
        rank=one.rank,
        session=one.session,
        seq=seq,
        data=orjson.dumps(one.data),
    )
    found = Record(
        topic=topic,
        partition=partition_of(one.key.encode()),
        offset=offset,
        timestamp_ms=_append_time_ms(offset),
        key=one.key.encode(),
        headers=message.headers(),
        value=message.data,
    )
    if one.broken is None:
        return found
    change = dict(BROKEN[one.broken])
    if "header" in change:
        name, wrong = change.pop("header")
        change["headers"] = [(other, wrong if other == name else text) for other, text in found.headers]
    return replace(found, **change)
