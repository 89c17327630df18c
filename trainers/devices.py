"""Whether this machine has what a job's ``device`` asks for. Only here can that be known: the API runs elsewhere."""

from __future__ import annotations

from trainers.configuration import InvalidConfig


def check_device(device: str | None, gpus: int) -> None:
    """``gpus`` are those that the framework sees. Raises InvalidConfig.

    Without this check some frameworks would train on the CPU without a word, a hundred times slower.
    """
    if not device or device in ("cpu", "mps"):
        return
    wanted = (device.removeprefix("cuda").removeprefix(":") or "0").split(",")
    missing = [number for number in wanted if int(number) >= gpus]
    if missing:
        raise InvalidConfig(
            f"config.device: there is no GPU {', '.join(missing)} here, {gpus} in all; cpu trains without"
        )
