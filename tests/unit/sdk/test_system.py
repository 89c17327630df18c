from __future__ import annotations

from pathlib import Path

from events.types.system import SystemSampled
from training_sdk.system import SystemSampler, parse_gpus


def proc(folder: Path, busy: int, idle: int) -> None:
    (folder / "self").mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\n")
    (folder / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n")
    (folder / "self" / "statm").write_text("100 10 1 1 0 1 0\n")


def test_processor_use_is_that_between_two_samples(tmp_path: Path) -> None:
    proc(tmp_path, busy=100, idle=900)
    sampler = SystemSampler(tmp_path)
    proc(tmp_path, busy=130, idle=970)
    sample = sampler.sample()
    assert sample["cpu_percent"] == 30.0
    assert (sample["memory_total_bytes"], sample["memory_used_bytes"]) == (1_024_000, 768_000)
    SystemSampled.model_validate(sample)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    sample = SystemSampler(tmp_path).sample()
    assert set(sample) == {"gpus"}


def test_the_answer_of_nvidia_smi_is_read_and_unknown_fields_are_left_out() -> None:
    text = "0, NVIDIA H200, 87, 1024, 143771, 41, 120.52\n1, NVIDIA H200, [N/A], 0, 143771, [N/A], [N/A]\nnoise\n"
    gpus = parse_gpus(text)
    assert gpus[0] == {
        "index": 0,
        "name": "NVIDIA H200",
        "utilization_percent": 87.0,
        "temperature_celsius": 41.0,
        "power_watts": 120.52,
        "memory_used_bytes": 1024 * 1024 * 1024,
        "memory_total_bytes": 143771 * 1024 * 1024,
    }
    assert set(gpus[1]) == {"index", "name", "memory_used_bytes", "memory_total_bytes"}
    SystemSampled.model_validate({"gpus": gpus})
