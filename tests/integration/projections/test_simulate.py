"""Other rules over a real topic by the command, and that a rule decides there what it decided live."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.envelope import Event
from events.types.vocabulary import Fact
from producers.database import Pool, transaction
from producers.decisions import append_decision
from producers.kafka.publisher import KafkaPublisher
from projections.registry import projection_named
from projections.runtime.apply import apply_batch
from projections.runtime.replay import read_topic
from projections.simulation.past_runs import PastRun, past_runs
from projections.simulation.rule_texts import rules_of
from projections.simulation.simulate import Counted
from projections.simulation.what_if import WhatIf
from tests.builders import wire
from tests.past_runs import RunOf, failed
from tests.services import ROOT, World
from training_sdk.wire import JOBS, METRICS

RULE = {"metric": "mAP50", "patience": 3}


def some_past(source: random.Random) -> list[Event[Fact]]:
    """Watched runs of two attempts and with noisy curves; a third of the events comes twice."""
    runs = []
    for job_id in range(25, 37):
        settings = {**RULE, "patience": source.choice((2, 3, 5)), "min_delta": source.choice((0.0, 0.02))}
        run = RunOf(job_id=job_id, config={"early_stopping": settings}, gpus=source.choice((0, 2)))
        first = source.randint(3, 9)
        run.attempt(curve(source, first), end=failed())
        resumed = source.randint(1, first)
        run.attempt(curve(source, source.randint(3, 12)), number=2, first=resumed)
        runs.append(run)
    events = [made for run in runs for made in run.events]
    for again in source.sample(events, k=len(events) // 3):
        events.insert(source.randint(events.index(again) + 1, len(events)), again)
    return events


def curve(source: random.Random, epochs: int) -> list[float | None]:
    return [round(0.8 * (1 - 0.7**epoch) + source.gauss(0, 0.05), 3) for epoch in range(1, epochs + 1)]


async def publish(world: World, events: list[Event[Fact]]) -> None:
    publisher = KafkaPublisher(world.kafka_bootstrap_servers, world.topic_prefix)
    try:
        await publisher.publish([wire(made) for made in events])
    finally:
        await publisher.close()


@pytest.mark.parametrize("seed", range(2))
async def test_a_rule_decides_over_the_past_what_it_decided_live(pool: Pool, migrated_world: World, seed: int) -> None:
    world = migrated_world
    await publish(world, some_past(random.Random(seed)))
    runs: dict[int, PastRun] = {}
    jobs, metrics = Counted(), Counted()
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, JOBS):
        past_runs(jobs.events(batch), runs)
    # Each run's own settings, and the same settings given as a rule.
    what_ifs = {
        job_id: WhatIf(run, rules_of(["own", orjson.dumps(run.job.config["early_stopping"]).decode()]))
        for job_id, run in runs.items()
    }
    async for batch in read_topic(world.kafka_bootstrap_servers, world.topic_prefix, METRICS):
        await apply_batch(pool, projection_named("early-stop"), batch, outside=append_decision)
        for event in metrics.events(batch):
            what_ifs[event.job_id].saw(event)
    async with transaction(pool, readonly=True) as tx:
        rows = await tx.fetch("SELECT job_id, attempt, partition, log_offset, decision FROM early_stop_decisions")
    live = {tuple(row)[:4]: row["decision"] for row in rows}
    assert len(live) > 5
    for rule in (0, 1):
        simulated = {
            (job_id, stop.attempt, stop.partition, stop.offset): stop.decided.model_dump(mode="json")
            for job_id, what_if in what_ifs.items()
            for stop in what_if.stops(rule).values()
        }
        assert simulated == live


async def test_the_command_prints_draws_and_writes_what_it_found(migrated_world: World, tmp_path: Path) -> None:
    world = migrated_world
    known = RunOf(job_id=40, gpus=2).attempt((0.1, 0.5, 0.4, 0.45, 0.5, 0.8, 0.7, 0.7))
    watched = RunOf(job_id=41).attempt((0.1, 0.5, 0.4, 0.45, 0.5)).stopped_live()
    await publish(world, [*known.events, *watched.events])
    arguments = ("simulate", "early-stopping", "--grid", "metric=mAP50", "patience=3,5", "--rule", "own")
    written, drawn = tmp_path / "found.json", tmp_path / "found.png"
    printed = world.run("-m", "projections", *arguments, "--json", str(written), "--plot", str(drawn), COLUMNS="160")
    assert "Early stopping over 2 past runs" in printed.replace("\n", " ")
    assert "1 run on a CPU" in printed and "1 run ended by early stopping when trained (censored)" in printed
    assert drawn.read_bytes().startswith(b"\x89PNG")
    found = orjson.loads(written.read_bytes())
    assert [rule["rule"] for rule in found["rules"]] == ["own", "metric=mAP50,patience=3", "metric=mAP50,patience=5"]
    run = found["rules"][1]["details"][0]
    assert (run["job_id"], run["epochs"]["saved"], run["lost"]) == (40, 3, pytest.approx(0.3))
    # To the output, without a table in it, and the same again.
    alone = world.run("-m", "projections", *arguments, "--json", "-", "--job", "40", "--job", "41")
    assert alone == written.read_text()


async def test_what_is_wrong_with_a_rule_is_said_before_anything_is_read(world: World) -> None:
    done = await _run(world, "--rule", "patience=0")
    assert done.returncode == 2
    assert b"rule 'patience=0' is refused: patience: Input should be greater than or equal to 1" in done.stderr
    assert b"no rule is given" in (await _run(world)).stderr


async def _run(world: World, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command: list[Any] = [sys.executable, "-m", "projections", "simulate", "early-stopping", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=world.environment(), capture_output=True, check=False, timeout=60
    )
