"""Arguments of a call to the bytes that go into the ring. Runs on the training thread: short, and no waiting."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping
from time import time
from typing import Any, Final

import orjson

from training_sdk.delivery.packer import EPOCH_MAX, NAME_LENGTH_MAX, NAMES_MAX, TENSOR

EVENT_BYTES_MAX: Final = 400_000
TENSORS_MAX: Final = 10_000
"""Tensors on a device that wait to be read; further ones are left out."""

_dumps = orjson.dumps
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


class Tensors:
    """Values that lie on a device. A copy is made at the call, on the caller's stream, and read by the sender.

    Reading at the call would stop the training thread until the device has caught up; keeping the tensor itself would
    read whatever training has put there by then.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._copies: dict[int, tuple[Any, Any]] = {}

    def keep(self, tensor: Any) -> dict[str, int] | None:
        if len(self._copies) >= TENSORS_MAX:
            return None
        copy = tensor.detach().clone()
        torch = sys.modules.get("torch")
        event = None
        if torch is not None and getattr(copy.device, "type", "") == "cuda":
            # The sender's thread has another current stream: it must wait for this one.
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(copy.device))
        number = next(self._numbers)
        self._copies[number] = (copy, event)
        return {TENSOR: number}

    def read(self, number: int) -> float | None:
        """The number that the tensor held at the call; None when there is none."""
        copy, event = self._copies.pop(number, (None, None))
        if copy is None:
            return None
        try:
            if event is not None:
                event.synchronize()
            return float(copy.item())
        except (RuntimeError, TypeError, ValueError):
            return None


def metrics_call(epoch: Any, phase: Any, metrics: Any, step: Any, tensors: Tensors) -> bytes:
    """A metrics call. Raises TypeError where an argument cannot be written down at all."""
    call = ("m", time(), -1 if epoch is None else epoch, phase, -1 if step is None else step, metrics)
    try:
        payload = _dumps(call, None, _NUMPY)
    except TypeError:
        return _slow_metrics_call(call, tensors)
    # orjson writes NaN and infinities as null; a null that was meant is rare, so both take the slow way.
    return payload if b"null" not in payload else _slow_metrics_call(call, tensors)


def _slow_metrics_call(call: tuple[Any, ...], tensors: Tensors) -> bytes:
    kind, moment, epoch, phase, step, metrics = call
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics is {metrics!r:.60}, wanted a dict of names and numbers")
    values = {_text(name): _value(value, tensors) for name, value in metrics.items()}
    return _dumps((kind, moment, _scalar(epoch), plain(phase), _scalar(step), values))


def _value(value: Any, tensors: Tensors) -> Any:
    if isinstance(value, str):
        return _text(value)
    if hasattr(value, "detach") and hasattr(value, "device"):
        if getattr(value.device, "type", str(value.device)) != "cpu":
            return tensors.keep(value)
        value = value.detach()
    value = _scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value)
    return f"{type(value).__name__} {value!r:.60}"  # named by the sender: it is no number


def _scalar(value: Any) -> Any:
    """A NumPy scalar, a tensor on the CPU with one element, a Decimal or a Fraction as a plain number."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value)
    item = getattr(value, "item", None)
    try:
        return item() if callable(item) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return f"{type(value).__name__} {value!r:.60}"


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else str(value)).encode("utf-8", "replace").decode("utf-8")


def log_call(message: Any, level: str, source: str, metadata: Mapping[str, Any], length_max: int) -> bytes:
    """A log call. The message is cut a little above what will be kept; the packer does the rest."""
    text = message if isinstance(message, str) else str(message)
    if len(text) > 4 * length_max and "\r" not in text:
        text = f"{text[:length_max]} ... [{len(text) - length_max} characters cut]"
    elif len(text) > 4 * length_max:
        text = text[-4 * length_max :]  # a progress bar: its last state counts
    try:
        payload = _dumps(("l", time(), level, text, source, metadata or None), None, _NUMPY)
    except TypeError:
        return _dumps(("l", time(), level, _text(text), source, plain(metadata)))
    return payload


def event_call(
    topic: str, name: str, data: Mapping[str, Any], *, after_uploads: bool = False, upload: int = 0
) -> bytes:
    """A lifecycle call. One that would not fit a record keeps its plain fields only: it must arrive."""
    options = {"after_uploads": True} if after_uploads else ({"upload": upload} if upload else {})
    call = ("e", time(), topic, name, plain(data), options)
    payload = _dumps(call)
    if len(payload) <= EVENT_BYTES_MAX:
        return payload
    small = {key: value for key, value in call[4].items() if not isinstance(value, (dict, list))}
    return _dumps(("e", call[1], topic, name, small, options))


def plain(value: Any, depth: int = 8) -> Any:
    """A value as JSON can hold it: non-finite numbers as text, what has no JSON form as its text."""
    if value is None or isinstance(value, (bool, int)):
        return value if not isinstance(value, int) or -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, str):
        return _text(value).replace("\x00", "")[:65_000]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _value(value, Tensors())
    if depth and isinstance(value, Mapping):
        return {_text(key)[:NAME_LENGTH_MAX]: plain(item, depth - 1) for key, item in list(value.items())[:1000]}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth - 1) for item in list(value)[:1000]]
    if callable(getattr(value, "item", None)):
        return _value(value, Tensors()) if not hasattr(value, "detach") else _text(str(value))[:1000]
    return _text(str(value))[:1000]


def count(value: Any, largest: int = EPOCH_MAX) -> int | None:
    """A whole number from 0 to ``largest``, or None."""
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= largest:
        return None
    return int(value)


def seconds(value: Any) -> float | None:
    """A finite number of at least 0, or None."""
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def metric_map(metrics: Any, complain: Callable[[str], None]) -> dict[str, Any] | None:
    """Names and numbers for an event of the jobs topic. Reads tensors at once: such calls are rare."""
    if not isinstance(metrics, Mapping):
        if metrics is not None:
            complain(f"metrics is {metrics!r:.60}, wanted a dict of names and numbers")
        return None
    found: dict[str, Any] = {}
    for name, raw in list(metrics.items())[:NAMES_MAX]:
        key = "".join(character for character in _text(name) if character.isprintable())[:NAME_LENGTH_MAX]
        value = raw if isinstance(raw, str) else _value(_scalar(raw), Tensors())
        if value is None:
            continue
        if (
            key
            and not isinstance(value, bool)
            and (isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity"))
        ):
            found[key] = value
        else:
            complain(f"metric {name!r:.80} is {raw!r:.60}, wanted a number")
    return found


def training_results(results: Any, complain: Callable[[str], None]) -> dict[str, Any] | None:
    """The spec's training_results (7.2) with each field of its type; a field that is wrong is left out and named."""
    if not isinstance(results, Mapping):
        if results is not None:
            complain(f"training_results is {results!r:.60}, wanted a dict")
        return None
    readers: dict[str, Callable[[Any], Any]] = {
        "total_epochs": count,
        "best_epoch": count,
        "best_metrics": lambda value: metric_map(value, complain),
        "final_metrics": lambda value: metric_map(value, complain),
        "training_time_seconds": seconds,
        "gpu_hours": seconds,
    }
    found: dict[str, Any] = {}
    for name, read in readers.items():
        raw = results.get(name)
        if raw is None:
            continue
        value = read(raw)
        if value is None:
            complain(f"training_results: {name} is {raw!r:.60} and was left out")
        else:
            found[name] = value
    return found
