from __future__ import annotations

from pathlib import Path

import pytest

from training_sdk import RunSettings, TrainerSDK
from training_sdk.secrets import Secrets
from training_sdk.testing import RecordingTransport

SECRET = "s3cr3t/with+signs"
ENVIRONMENT = {
    "S3_SECRET_KEY": SECRET,
    "HF_TOKEN": "hf_0123456789",
    "MLFLOW_TRACKING_URI": "http://me:p%40ssw0rd@mlflow:5000",
    "SOME_PASSWORD": "abc",
    "OUTPUT_PATH": "/srv/output",
    "KEYBOARD": "qwertyuiop",
}


def test_values_of_telling_names_and_passwords_of_addresses_are_masked() -> None:
    secrets = Secrets(ENVIRONMENT)
    text = f"key={SECRET} url=?k=s3cr3t%2Fwith%2Bsigns hf_0123456789 p@ssw0rd http://me:p%40ssw0rd@mlflow:5000 abc"
    assert secrets.masked(text) == "key=*** url=?k=*** *** *** http://me:***@mlflow:5000 abc"
    assert secrets.masked("/srv/output qwertyuiop") == "/srv/output qwertyuiop"
    nested = {"a": [SECRET, 1, None, {"b": (f"x{SECRET}",)}], SECRET: 2.5}
    assert secrets.masked_all(nested) == {"a": ["***", 1, None, {"b": ["x***"]}], "***": 2.5}


def test_a_longer_secret_is_masked_as_a_whole() -> None:
    secrets = Secrets({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghij"})
    assert secrets.masked("abcdefghij abcdef") == "*** ***"


@pytest.mark.parametrize("state", ["before start", "started"])
def test_no_secret_of_the_environment_is_sent_in_any_report(tmp_path: Path, state: str) -> None:
    transport = RecordingTransport()
    environment = {**ENVIRONMENT, "JOB_ID": "25", "EPOCHLOG_SPOOL_DIR": str(tmp_path)}
    sdk = TrainerSDK(RunSettings.from_env(environment), transport=transport)
    if state == "started":
        sdk.report_started(total_epochs=1)
    sdk.log_info(f"connecting with {SECRET}", key=SECRET, nested={"list": [SECRET]}, error=ValueError(SECRET))
    sdk.log(f"a very long line {'x' * 300_000} {SECRET}", "WARNING")
    sdk.log("WARNING", f"the other way round {SECRET}")
    sdk.report_progress(SECRET, 3)  # type: ignore[arg-type]
    sdk.report_failed("UNKNOWN", f"http://me:p%40ssw0rd@mlflow:5000 refused {SECRET}")
    assert sdk.close()
    sent = b"\n".join(event.data for event in transport.events)
    assert b"connecting with ***" in sent and b"refused ***" in sent
    for secret in (SECRET, "p%40ssw0rd", "p@ssw0rd", "hf_0123456789"):
        assert secret.encode() not in sent
    # Nor does it lie in the spool.
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
