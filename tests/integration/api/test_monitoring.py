"""A real Prometheus scrapes a running API and holds the alerts; every name in them and on the dashboard is there."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring import FOLDER, expressions, names_in, tool
from tests.running import Running
from tests.services import free_port
from tests.waiting import eventually


async def test_prometheus_reads_what_the_api_says_and_holds_the_alerts(
    running: Running, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    text = (await client.get(f"{running.url}/metrics")).text
    said = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    for where, expression in expressions().items():
        assert names_in(expression) <= said, where

    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{running.port}"]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = await asyncio.to_thread(started, tmp_path, port)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1/") as prometheus:

            async def asked(query: str) -> list[Any]:
                try:
                    answer = await prometheus.get("query", params={"query": query})
                except httpx.TransportError:
                    return []
                return list(answer.json()["data"]["result"]) if answer.status_code == 200 else []

            await eventually(lambda: asked('up{job="epochlog"} == 1'), timeout_s=60, what="the API is scraped")
            found = await eventually(lambda: asked("epochlog_projection_lag"), timeout_s=30, what="a query is answered")
            assert {"jobs", "metrics", "dead-letters"} <= {series["metric"]["projection"] for series in found}
            groups = (await prometheus.get("rules")).json()["data"]["groups"]
            loaded = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
            wanted = {where.removeprefix("alert ") for where in expressions() if where.startswith("alert ")}
            assert loaded.keys() == wanted and set(loaded.values()) <= {"ok", "unknown"}
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Prometheus with the configuration and the data of a folder, on loopback only."""
    arguments = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        listen = f"--web.listen-address=127.0.0.1:{port}"
        return subprocess.Popen([tool("prometheus"), *arguments, listen], stdout=log, stderr=log)
