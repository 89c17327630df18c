"""The API may not import the read models: what it knows of them by heart is theirs."""

from __future__ import annotations

from api.operations.health import TOPIC_OF
from api.operations.lag import CORE_WORKER, WORKER_OF
from projections.registry import PROJECTIONS


def test_the_api_knows_every_read_models_topic_and_worker() -> None:
    assert {projection.name: projection.topic for projection in PROJECTIONS} == TOPIC_OF
    workers = {projection.name: f"projections-{projection.process}" for projection in PROJECTIONS}
    assert {name: WORKER_OF.get(name, CORE_WORKER) for name in TOPIC_OF} == workers
