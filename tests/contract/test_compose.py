"""compose.yaml is a valid compose file, and its services are those of the local stack."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema.validators import validator_for

from stack.services import SERVICES
from trainers.catalogue import FRAMEWORKS

ROOT = Path(__file__).resolve().parent.parent.parent


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def schema() -> dict[str, Any]:
    """The compose specification's own schema, as the package check-jsonschema carries it.

    Read as a file: importing that package needs a newer click than faust-streaming allows.
    """
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_it_fits_the_compose_specifications_schema() -> None:
    validator = validator_for(schema())(schema())
    assert [error.message for error in validator.iter_errors(compose())] == []
    broken = compose()
    broken["services"]["api"]["helthcheck"] = {}
    assert list(validator.iter_errors(broken))


def test_its_services_are_those_of_the_local_stack_and_wait_for_the_same() -> None:
    services = compose()["services"]
    # One machine has the packages of every framework, an image those of one: the others have services of their own.
    names = [service.name for service in SERVICES]
    more = [f"{what}-{framework}" for what in ("launcher", "catalogue") for framework in list(FRAMEWORKS)[1:]]
    assert list(services) == [*names, *more]
    for service in SERVICES:
        for name in (service.name, *(name for name in more if name.startswith(f"{service.name}-"))):
            assert set(services[name].get("depends_on", {})) == set(service.needs), name
    for framework in list(FRAMEWORKS)[1:]:
        assert services[f"launcher-{framework}"]["build"] == services[f"catalogue-{framework}"]["build"]
        assert services[f"launcher-{framework}"]["volumes"] == [f"runs-{framework}:/data"]


def test_every_service_is_watched_and_every_store_keeps_its_data_in_a_named_volume() -> None:
    document = compose()
    for name, service in document["services"].items():
        if name in ("kafka", "postgres", "s3", "mlflow", "api"):
            assert "healthcheck" in service, name
    for name in ("kafka", "postgres", "s3"):
        volume = document["services"][name]["volumes"][0].split(":")[0]
        assert volume in document["volumes"]


def test_only_loopback_is_published() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_every_build_target_exists_and_copies_what_is_there() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    wanted = {service["build"]["target"] for service in compose()["services"].values() if "build" in service}
    assert wanted <= targets
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert any(ROOT.glob(source)), source
