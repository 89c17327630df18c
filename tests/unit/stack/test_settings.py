from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stack import kafka
from stack.ports import PortTaken, check_ports
from stack.services import SERVICE_NAMES, SERVICES, chosen
from stack.settings import PORT_SETTINGS, InvalidSetting, Settings


def test_the_defaults_are_the_ports_that_clients_expect() -> None:
    environment = Settings.from_env({}).client_environment()
    assert environment.pop("PYTHON")
    assert environment == {
        "BACKEND_URL": "http://127.0.0.1:8000/api/v1",
        "S3_ENDPOINT": "http://127.0.0.1:9002",
        "S3_ACCESS_KEY": "minioadmin",
        "S3_SECRET_KEY": "minioadmin",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
        "DATABASE_URL": "postgresql://postgres@127.0.0.1:5432/epochlog",
    }


def test_an_address_in_the_environment_replaces_the_embedded_service() -> None:
    settings = Settings.from_env({"DATABASE_URL": "postgresql://me@db:6000/runs", "KAFKA_BOOTSTRAP_SERVERS": ""})
    assert settings.external == {"postgres"}
    assert settings.client_environment()["DATABASE_URL"] == "postgresql://me@db:6000/runs"
    assert settings.database_url_of("mlflow") == "postgresql://me@db:6000/mlflow"


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "http", "80 "])
def test_a_port_that_is_none_is_refused_by_its_setting(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"EPOCHLOG_API_PORT is .*1 to 65535"):
        Settings.from_env({"EPOCHLOG_API_PORT": text})


def test_a_port_moves_the_address_with_it() -> None:
    assert Settings.from_env({"EPOCHLOG_API_PORT": "8123"}).backend_url == "http://127.0.0.1:8123/api/v1"


def test_a_relative_data_folder_does_not_depend_on_where_a_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({"EPOCHLOG_DATA_DIR": "data"})
    assert settings.process_environment()["EPOCHLOG_DATA_DIR"] == str(tmp_path / "data")


def test_choosing_a_service_brings_what_it_needs_in_the_tables_order() -> None:
    settings = Settings.from_env({})
    assert [service.name for service in chosen(["mlflow"], settings)] == ["postgres", "s3", "mlflow"]
    assert tuple(service.name for service in chosen([], settings)) == SERVICE_NAMES


def test_an_unknown_service_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no service is called redis; there are kafka, postgres"):
        chosen(["kafka", "redis"], Settings.from_env({}))


def test_three_brokers_are_one_address_and_come_together() -> None:
    settings = Settings.from_env({"EPOCHLOG_KAFKA_BROKERS": "3"})
    assert settings.kafka_bootstrap_servers == "127.0.0.1:9092,127.0.0.1:9094,127.0.0.1:9096"
    assert [service.name for service in chosen(["kafka"], settings)] == ["kafka-2", "kafka-3", "kafka"]
    assert tuple(service.name for service in chosen([], settings)) == ("kafka-2", "kafka-3", *SERVICE_NAMES)
    external = Settings.from_env({"EPOCHLOG_KAFKA_BROKERS": "3", "KAFKA_BOOTSTRAP_SERVERS": "log:9092"})
    assert tuple(service.name for service in chosen([], external)) == SERVICE_NAMES


@pytest.mark.parametrize("text", ["0", "2", "many"])
def test_a_number_of_brokers_that_is_no_cluster_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"EPOCHLOG_KAFKA_BROKERS is .*1 or 3"):
        Settings.from_env({"EPOCHLOG_KAFKA_BROKERS": text})


def test_a_log_of_one_broker_is_not_taken_over_by_three_nor_the_other_way_round(tmp_path: Path) -> None:
    one = Settings.from_env({"EPOCHLOG_DATA_DIR": str(tmp_path)})
    three = Settings.from_env({"EPOCHLOG_DATA_DIR": str(tmp_path), "EPOCHLOG_KAFKA_BROKERS": "3"})
    formatted = tmp_path / "kafka" / "data" / "meta.properties"
    formatted.parent.mkdir(parents=True)
    formatted.touch()
    with pytest.raises(RuntimeError, match=r"made by 1 broker.*asks for 3"):
        kafka.prepare(three)
    (tmp_path / "kafka" / "cluster.json").touch()
    with pytest.raises(RuntimeError, match=r"made by 3 broker.*asks for 1"):
        kafka.prepare(one)


def test_every_service_needs_only_services_above_it() -> None:
    for position, service in enumerate(SERVICES):
        assert set(service.needs) <= set(SERVICE_NAMES[:position]), service.name


def test_only_the_mirror_waits_for_mlflow() -> None:
    assert [service.name for service in SERVICES if "mlflow" in service.needs] == ["projections-mlflow"]


@pytest.mark.parametrize(
    ("name", "listener"), [("postgres", "postgres"), ("api", "api"), ("kafka", "kafka-controller")]
)
def test_a_taken_port_is_an_error_that_names_the_setting(name: str, listener: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        setting = PORT_SETTINGS[listener][0]
        settings = Settings.from_env({setting: str(port)})
        services = [service for service in SERVICES if service.name == name]
        with pytest.raises(PortTaken) as refused:
            check_ports(settings, services)
    assert f"port {port} for {name} is taken; set {setting} to another one" in str(refused.value)
