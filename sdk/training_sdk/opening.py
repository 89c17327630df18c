"""From settings to a session and a transport."""

from __future__ import annotations

import os
import socket
import tempfile
import time as clock
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from training_sdk import encoding
from training_sdk.delivery.http import HttpTransport
from training_sdk.delivery.kafka import KafkaTransport
from training_sdk.delivery.ring import CAPACITY_BYTES
from training_sdk.delivery.session import About, Session
from training_sdk.delivery.transport import Transport, TransportError
from training_sdk.settings import RunSettings, SettingsError

RING_BYTES_OTHER_RANKS: Final = 64 * 1024
"""Other ranks than 0 report the state of their machine only, and that does not pass through the ring."""


def about_this_process(settings: RunSettings, sender: str, **opened: Any) -> About:
    """A new session of this process; ``opened`` is added to the data of session.opened."""
    hostname = socket.gethostname()
    data = {"sender": sender, "hostname": hostname, "pid": os.getpid(), **opened}
    return About(
        job_id=settings.job_id,
        attempt=settings.attempt,
        rank=settings.rank,
        session=uuid.uuid4().hex,
        source=f"training-sdk/{sender}/{hostname}/{settings.rank}",
        opened={name: value for name, value in data.items() if value is not None},
        pid=os.getpid(),
        created=clock.time(),
    )


def create_session(settings: RunSettings, warn: Callable[[str], Any]) -> Session:
    """A trainer's session in the spool folder, or in a temporary one where that cannot be used. Raises OSError."""
    try:
        early_stopping = settings.config().get("early_stopping")
        total_epochs = configured_epochs(settings)
    except SettingsError as error:
        warn(str(error))
        early_stopping = total_epochs = None
    anew = settings.resume_uri is None and settings.resume_epoch is None and settings.resume_step is None
    about = about_this_process(
        settings,
        "sdk",
        # 0 says that nothing of earlier attempts goes on; of a checkpoint that names no step or epoch nothing is said.
        resume_step=0 if anew else settings.resume_step,
        resume_epoch=0 if anew else settings.resume_epoch,
        total_epochs=total_epochs,
        early_stopping=early_stopping if isinstance(early_stopping, dict) else None,
    )
    ring_bytes = CAPACITY_BYTES if settings.rank == 0 else RING_BYTES_OTHER_RANKS
    try:
        return Session.create(settings.spool_dir, about, ring_bytes=ring_bytes)
    except OSError as error:
        other = Path(tempfile.gettempdir()) / f"epochlog-spool-{os.getuid()}"
        warn(f"the spool folder {settings.spool_dir} cannot be used ({error}); {other} is used instead")
        return Session.create(other, about, ring_bytes=ring_bytes)


def configured_epochs(settings: RunSettings) -> int | None:
    """Epochs that somebody asked for; the default that fills the gap is nobody's wish. Raises SettingsError."""
    return encoding.count(settings.basic_config()["epochs"]) if settings.was_given("epochs") else None


def choose_transport(settings: RunSettings, on_answer: Callable[[Mapping[str, Any]], None] | None = None) -> Transport:
    """Kafka where it is known, else HTTP; TRAINING_SDK_TRANSPORT decides. Raises TransportError when there is none."""
    if settings.kafka_bootstrap_servers and settings.transport != "http":
        return KafkaTransport(settings.kafka_bootstrap_servers, settings.topic_prefix)
    if settings.backend_url and settings.transport != "kafka":
        return HttpTransport(settings.backend_url, on_answer)
    raise TransportError("neither KAFKA_BOOTSTRAP_SERVERS nor BACKEND_URL is set for the transport that was chosen")
