"""A connection that is dead without anybody having closed it, on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from training_sdk.service import follow as following
from training_sdk.service.follow import PINGLESS_MAX_S, SILENCE_MAX_S, follow
from training_sdk.service.requests import Service

PROGRESS = '{"type":"progress","data":{"epoch":1},"cursor":"there"}'
END = '{"type":"job_status","data":{"status":"completed"},"cursor":"end"}'


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize("pinged", [False, True])
def test_without_even_a_ping_the_connection_is_made_anew_behind_the_last_frame(
    monkeypatch: pytest.MonkeyPatch, pinged: bool
) -> None:
    time, addresses, closed_at_s, seen = Time(), list[str](), list[float](), list[str]()

    class Connection:
        """Gives one frame. The first then falls silent for two minutes, but for its pings."""

        def __init__(self, address: str) -> None:
            addresses.append(address)
            self.heard_at = time.now_s
            self._frames = [PROGRESS] if len(addresses) == 1 else [END]

        def receive(self, timeout_s: float) -> str | None:
            if self._frames:
                return self._frames.pop(0)
            if time.now_s > 120:
                return END
            time.now_s += timeout_s
            if pinged:
                self.heard_at = time.now_s
            return None

        def close(self) -> None:
            closed_at_s.append(time.now_s)

    def ask(method: str, path: str) -> dict[str, object]:
        return {"status": "completed" if "job_status" in seen else "running", "state": "-", "awaits_retry": False}

    service = Service("http://host")
    monkeypatch.setattr(following, "WebSocket", Connection)
    monkeypatch.setattr(following, "clock", SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep))
    monkeypatch.setattr(service, "ask", ask)
    for update in follow(service, 25):
        seen.append(update.type)
    assert seen == ["progress", "job_status"]
    if pinged:
        assert len(addresses) == 1
    else:
        assert len(addresses) == 2 and addresses[1].endswith("&after=there")
        assert PINGLESS_MAX_S < closed_at_s[0] <= PINGLESS_MAX_S + SILENCE_MAX_S
