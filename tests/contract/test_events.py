"""The contract is what was ever written: golden examples read for ever, schemas change only with a new version."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from jsonschema import Draft202012Validator

from events.__main__ import drifted, generated_files, main
from events.asyncapi import EXAMPLES_FOLDER, asyncapi_document, example_of, schema_of
from events.codec import data_bytes, decode
from events.envelope import Record
from events.registry import BY_WIRE_NAME, EVENT_TYPES, EventType, event_type_of
from events.topics import TOPIC_NAMES
from events.types.checkpoints import CheckpointSaved
from events.types.sessions import SessionOpened
from events.types.vocabulary import ERROR_KINDS, ErrorCode
from training_sdk import wire


def golden_record(event_type: EventType) -> Record:
    example = example_of(event_type)
    return Record(
        topic=example["topic"],
        partition=wire.partition_of(example["key"].encode()),
        offset=0,
        timestamp_ms=1_763_634_900_200,
        key=example["key"].encode(),
        headers=[(name, value.encode()) for name, value in example["headers"].items()],
        value=json.dumps(example["data"]).encode(),
    )


every_type = pytest.mark.parametrize("event_type", EVENT_TYPES, ids=lambda event_type: event_type.wire_name)


@every_type
def test_the_golden_example_reads_and_writes_back_unchanged(event_type: EventType) -> None:
    event = decode(golden_record(event_type))
    assert isinstance(event.data, event_type.model)
    expected = event_type.model.model_validate(example_of(event_type)["data"])
    assert json.loads(data_bytes(event.data)) == json.loads(data_bytes(expected))


@every_type
def test_the_golden_example_fits_the_schema(event_type: EventType) -> None:
    Draft202012Validator(schema_of(event_type)).validate(example_of(event_type)["data"])


@every_type
def test_the_cloudevents_package_reads_the_record_without_our_code(event_type: EventType) -> None:
    record = golden_record(event_type)
    assert record.key is not None and record.value is not None
    message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
    read = from_binary_event(message)
    assert read.get_type() == event_type.wire_name
    assert read.get_subject() == record.key.decode()
    assert read.get_data() == example_of(event_type)["data"]


def test_a_checkpoint_of_version_1_is_read_as_one_of_version_2() -> None:
    old, new = (decode(golden_record(BY_WIRE_NAME[f"training.checkpoint.saved.v{n}"])).data for n in (1, 2))
    assert isinstance(old, CheckpointSaved) and isinstance(new, CheckpointSaved)
    assert (old.step, new.step) == (None, 250)
    assert old == new.model_copy(update={"step": None})


def test_a_session_of_version_1_did_not_say_how_many_epochs_were_done() -> None:
    old, new = (decode(golden_record(BY_WIRE_NAME[f"training.session.opened.v{n}"])).data for n in (1, 2))
    assert isinstance(old, SessionOpened) and isinstance(new, SessionOpened)
    assert (old.resume_epoch, new.resume_epoch) == (None, 3)
    assert old == new.model_copy(update={"resume_step": 0, "resume_epoch": None})


def test_only_the_newest_version_of_a_type_is_written_and_every_older_one_leads_to_it() -> None:
    newest: dict[str, int] = {}
    for kind in EVENT_TYPES:
        newest[kind.name] = max(kind.version, newest.get(kind.name, 0))
    for kind in EVENT_TYPES:
        assert (kind.step is None) == (kind.version == newest[kind.name]), kind.wire_name
        assert event_type_of(kind.model).wire_name == f"{kind.name}.v{newest[kind.name]}"
        if kind.step is not None:
            assert kind.step({}) is not None, "a step raises for no dict"


def test_no_example_is_an_orphan() -> None:
    assert {path.stem for path in EXAMPLES_FOLDER.glob("*.json")} == {kind.wire_name for kind in EVENT_TYPES}


def test_generated_files_are_up_to_date() -> None:
    assert drifted(generated_files()) == [], "run: python -m events"
    assert main(["--check"]) == 0


def test_every_name_of_the_wire_is_registered() -> None:
    sent = {value for name, value in vars(wire).items() if isinstance(value, str) and value.startswith("training.")}
    known = {kind.wire_name for kind in EVENT_TYPES if kind.step is None} | set(TOPIC_NAMES)
    assert sent <= known


def test_every_error_code_has_its_advice_and_the_sdk_may_send_it() -> None:
    assert set(ERROR_KINDS) == {str(code) for code in ErrorCode} == set(wire.ERROR_CODES)


def test_the_asyncapi_document_names_every_topic_and_type() -> None:
    document = asyncapi_document()
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == set(TOPIC_NAMES)
    assert set(document["components"]["messages"]) == {kind.wire_name for kind in EVENT_TYPES}
    for channel in document["channels"].values():
        for reference in channel["messages"].values():
            assert reference["$ref"].removeprefix("#/components/messages/") in document["components"]["messages"]


def test_changing_a_schema_under_its_old_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = generated_files()
    schema = next(path for path in files if path.name.startswith("training.job.started.v1"))
    changed = {**files, schema: files[schema].replace('"pid"', '"process_id"')}
    assert changed != files
    monkeypatch.setattr("events.__main__.generated_files", lambda: changed)
    assert main([]) == 1
    assert "training.job.started.v1.schema.json would change under an old version" in capsys.readouterr().err
    assert drifted(files) == []
