"""What an event says, in a line for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from events.registry import BY_WIRE_NAME

Data = Mapping[str, Any]
UNREADABLE: Final = "unreadable"
"""In an audit trail: a record of the job that no event could be read from."""


def describe(wire_name: str, data: Data) -> str:
    """One line. ``data`` as a model dumps it, or as projections/core/trail.py sums it up; what it lacks is left out.

    Never raises for a type of the registry; another one is named as it is.
    """
    name = wire_name.rpartition(".v")[0] or wire_name
    describer = _LINES.get(name)
    if describer is not None:
        return describer(data)
    known = BY_WIRE_NAME.get(wire_name)
    return wire_name if known is None else known.description


def _asked(what: str) -> Callable[[Data], str]:
    return lambda data: f"{data.get('requested_by', 'somebody')} asked {what}: {data.get('reason', 'no reason given')}"


def _with_reason(what: str) -> Callable[[Data], str]:
    return lambda data: f"{what}: {data.get('reason', 'no reason given')}"


def _retry(data: Data) -> str:
    if data.get("automatic"):
        return f"the launcher tries again by itself: {data.get('reason')}"
    return _asked("to try again")(data)


def _decided(data: Data) -> str:
    at = "" if data.get("epoch") is None else f" at epoch {data['epoch']}"
    value = "" if data.get("value") is None else f" = {data['value']}"
    best = ""
    if data.get("best_value") is not None:
        best = f" (best {data['best_value']} at epoch {data.get('best_epoch')})"
    return f"early stopping: {data.get('rule')} on {data.get('metric')}{value}{at}{best}: {data.get('reason')}"


def _described(data: Data) -> str:
    changed = ", ".join(name for name in data if name != "requested_by")
    return f"{data.get('requested_by', 'somebody')} changed {changed or 'nothing'}"


def _created(data: Data) -> str:
    return f"created: {data.get('model_name')} for {data.get('task_type')} on data set {data.get('dataset_id')}"


def _started(data: Data) -> str:
    return f"the trainer runs{_on(data)}"


def _on(data: Data) -> str:
    process = "" if data.get("pid") is None else f" as process {data['pid']}"
    return process + ("" if data.get("hostname") is None else f" on {data['hostname']}")


def _exited(data: Data) -> str:
    how = f"signal {data['signal']}" if data.get("signal") else f"exit code {data.get('exit_code', 'unknown')}"
    return f"the trainer's process{_on(data)} ended with {how}"


def _progress(data: Data) -> str:
    left = "" if data.get("eta_seconds") is None else f", {data['eta_seconds']:.0f} s to go"
    return f"epoch {data.get('epoch')} of {data.get('total_epochs')} ({data.get('phase')}){left}"


def _checkpoint(data: Data) -> str:
    kind = "the best checkpoint" if data.get("is_best") else "a checkpoint"
    at = "" if data.get("epoch") is None else f" of epoch {data['epoch']}"
    return f"{kind}{at} lies at {data.get('object_uri') or data.get('checkpoint_path')}"


def _artifact(data: Data) -> str:
    return f"{data.get('kind')} {data.get('name')} lies at {data.get('object_uri')}"


def _limit(data: Data) -> str:
    return f"{data.get('limit')} exceeded: {data.get('used')} used, {data.get('allowed')} allowed"


def _failed(data: Data) -> str:
    return f"failed: {data.get('error_code')}: {str(data.get('error_message', ''))[:200]}"


def _stopped(data: Data) -> str:
    at = data.get("stopped_at_epoch")
    return "the trainer stopped as it was asked to" + ("" if at is None else f", at epoch {at}")


def _opened(data: Data) -> str:
    resumes = ""
    if data.get("resume_epoch") or data.get("resume_step"):
        resumes = f", going on after epoch {data.get('resume_epoch', '?')}, from step {data.get('resume_step', '?')}"
    return f"{data.get('sender')} began to send{_on(data)}{resumes}"


def _closed(data: Data) -> str:
    last = ", ".join(f"{topic} up to {seq}" for topic, seq in data.get("last_seq", {}).items())
    return f"the sender's last word, said by {data.get('closed_by')}: {last}"


def _dropped(data: Data) -> str:
    return f"{data.get('count')} calls or lines for {data.get('topic')} were left out: {data.get('reason')}"


def _metrics(data: Data) -> str:
    names, rows = list(data.get("names", data.get("values", ()))), data.get("rows", len(data.get("times", ())))
    shown = ", ".join(names[:5]) + ("" if len(names) <= 5 else f" and {len(names) - 5} more")
    return f"{rows} reports of {data.get('phase')}: {shown}{_span('step', data.get('steps'))}"


def _span(what: str, ends: Any) -> str:
    named = [end for end in ends or () if end is not None]
    if not named:
        return ""
    first, last = min(named), max(named)
    return f", {what} {first}" if first == last else f", {what}s {first} to {last}"


def _logs(data: Data) -> str:
    lines = data.get("lines", 0)
    levels = ", ".join(f"{count} {level}" for level, count in data.get("levels", {}).items())
    return f"{lines if isinstance(lines, int) else len(lines)} log lines" + (f" ({levels})" if levels else "")


def _sampled(data: Data) -> str:
    cpu = "unknown" if data.get("cpu_percent") is None else f"{data['cpu_percent']:.0f} %"
    gpus = data.get("gpus", 0)
    return f"the machine: CPU {cpu}, {gpus if isinstance(gpus, int) else len(gpus)} GPUs"


_LINES: Final[Mapping[str, Callable[[Data], str]]] = {
    "training.job.created": _created,
    "training.job.described": _described,
    "training.job.deleted": _asked("to delete the job"),
    "training.job.restored": _asked("to restore the job"),
    "training.job.purged": _asked("to erase all that is known of the job"),
    "training.job.queued": _with_reason("queued"),
    "training.job.launched": _with_reason("the launcher started an attempt"),
    "training.job.started": _started,
    "training.progress.reported": _progress,
    "training.checkpoint.saved": _checkpoint,
    "training.artifact.saved": _artifact,
    "training.stop.requested": _asked("the run to stop"),
    "training.cancel.requested": _asked("the run to end soon"),
    "training.pause.requested": _asked("the run to pause"),
    "training.resume.requested": _asked("the run to go on"),
    "training.retry.requested": _retry,
    "training.limit.exceeded": _limit,
    "training.stop.decided": _decided,
    "training.stop.signalled": lambda data: f"the run was sent {data.get('signal')}: {data.get('reason')}",
    "training.job.completed": lambda data: "the trainer finished",
    "training.job.failed": _failed,
    "training.job.stopped": _stopped,
    "training.process.exited": _exited,
    "training.job.lost": _with_reason("lost"),
    "training.job.found": _with_reason("found again"),
    "training.session.opened": _opened,
    "training.session.closed": _closed,
    "training.events.dropped": _dropped,
    "training.metrics.reported": _metrics,
    "training.log.written": _logs,
    "training.system.sampled": _sampled,
    "training.deadletter.redriven": lambda data: f"{data.get('by')} had a dead letter sent again: {data.get('reason')}",
    "training.deadletter.discarded": lambda data: f"{data.get('by')} gave a dead letter up: {data.get('reason')}",
    UNREADABLE: lambda data: f"no event could be read from the record: {data.get('reason')}",
}
