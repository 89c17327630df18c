"""Signs of life and what the machine was doing."""

from __future__ import annotations

from pydantic import Field

from events.types.vocabulary import Fact, Text


class HeartbeatSent(Fact):
    pass


class GpuSample(Fact):
    index: int
    name: Text | None = None
    utilization_percent: float | None = Field(default=None, allow_inf_nan=False)
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = Field(default=None, allow_inf_nan=False)
    power_watts: float | None = Field(default=None, allow_inf_nan=False)


class SystemSampled(Fact):
    cpu_percent: float | None = Field(default=None, allow_inf_nan=False, description="of all cores; 0 to 100")
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    process_memory_bytes: int | None = None
    gpus: list[GpuSample] = Field(default_factory=list)
