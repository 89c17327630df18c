from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sdk.test_client import settings
from training_sdk import TrainerSDK, wire
from training_sdk.storage.kinds import Place, artifact_upload, safe_file_name
from training_sdk.testing import RecordingTransport


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("confusion_matrix.png", "confusion_matrix.png"),
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        (".hidden", "hidden"),
        ("C:\\plots\\a b.png", "a_b.png"),
        ("r\u00e9sum\u00e9?.html\r\nX: y", "r_sum_.html_X_y"),
        ("", "file"),
        ("x" * 400 + ".png", "x" * 146 + ".png"),
    ],
)
def test_a_file_name_holds_nothing_that_a_key_or_a_header_would_read_otherwise(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_an_artifact_without_a_name_is_called_as_its_file(tmp_path: Path) -> None:
    place = Place("bucket", job_id=25, attempt=3, saved_at=1.5)
    upload = artifact_upload(tmp_path / "curve.json", place, kind="file", name=None, epoch=None)
    assert upload.data == {"name": "curve.json", "kind": "file", "epoch": None, "content_type": "application/json"}
    assert upload.key("ab") == "artifacts/25/attempt-3/ab/curve.json" and upload.aliases == []


def test_wrong_arguments_of_upload_artifact_are_named_and_raise_nothing(tmp_path: Path) -> None:
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path, s3_endpoint="http://127.0.0.1:9"), transport=transport) as sdk:
        missing = str(tmp_path / "missing.png")
        assert sdk.upload_artifact(missing, "plot") == missing
        assert sdk.upload_artifact(missing, "picture") == missing
        assert sdk.upload_artifact(None, object(), name=object(), epoch="x") == "None"  # type: ignore[arg-type]
    lines = [line["message"] for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]
    assert any("missing.png" in line and "No such file" in line for line in lines)
    assert any("kind 'picture' is not one of plot, prediction, model, file" in line for line in lines)


def test_without_a_store_the_file_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    transport = RecordingTransport()
    with TrainerSDK(settings(tmp_path / "spool"), transport=transport) as sdk:
        assert sdk.upload_artifact(str(tmp_path / "a.png")) == str(tmp_path / "a.png")
    lines = [line["message"] for data in transport.data(wire.LOG_WRITTEN) for line in data["lines"]]
    assert any("S3_ENDPOINT is not set" in line for line in lines)
