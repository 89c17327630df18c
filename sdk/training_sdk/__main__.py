"""``python -m training_sdk``: ``sync DIR``; ``export``; a supervisor's ``process-exited`` and ``limit-exceeded``."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from training_sdk.replay.options import add_arguments
from training_sdk.settings import RunSettings
from training_sdk.sync import TIMEOUT_S, report_from_outside, report_process_exited, sync
from training_sdk.wire import LIMIT_EXCEEDED


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 everything is in the log or the file, 1 something is left (one line says what), 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m training_sdk", description="Ship reports that wait on this disk; read the log."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ship = commands.add_parser("sync", help="ship, finish and close every session below a spool folder")
    ship.add_argument("folder", type=Path)
    ship.add_argument("--closed-by", choices=["sdk", "supervisor", "reaper"], default="sdk")
    ship.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS")
    exited = commands.add_parser("process-exited", help="record how the trainer of JOB_ID, TRAINING_ATTEMPT ended")
    exited.add_argument("--exit-code", type=int)
    exited.add_argument("--signal", help="name of the signal, e.g. SIGKILL")
    exited.add_argument("--pid", type=int)
    reason = exited.add_mutually_exclusive_group()
    reason.add_argument("--reason", help="in words; everybody on this machine sees an argument")
    reason.add_argument("--reason-from-input", action="store_true", help="it comes by standard input")
    exited.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    limit = commands.add_parser("limit-exceeded", help="record that JOB_ID, TRAINING_ATTEMPT used more than it may")
    limit.add_argument("--limit", required=True, help="e.g. max_seconds")
    limit.add_argument("--allowed", required=True, type=float)
    limit.add_argument("--used", required=True, type=float)
    limit.add_argument("--error-code", required=True)
    limit.add_argument("--reason", required=True)
    limit.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    add_arguments(commands.add_parser("export", help="write a part of the log to a file: Parquet, CSV, JSON lines"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if options.command == "sync":
        return _sync(options.folder, options.closed_by, options.timeout)
    if options.command == "export":
        return _export(options)
    return _limit_exceeded(options) if options.command == "limit-exceeded" else _process_exited(options)


def _sync(folder: Path, closed_by: str, timeout_s: float) -> int:
    if not folder.is_dir():
        print(f"nothing to ship: {folder} is no folder")
        return 0
    report = sync(folder, closed_by, timeout_s=timeout_s)
    if report.left:
        path, reason = next(iter(report.left.items()))
        more = f" (and {len(report.left) - 1} more)" if len(report.left) > 1 else ""
        print(f"left in the spool: {path}: {reason}{more}", file=sys.stderr)
        return 1
    in_use = f", {len(report.in_use)} in use" if report.in_use else ""
    print(f"shipped {len(report.shipped)} session(s){in_use}")
    return 0


def _export(options: argparse.Namespace) -> int:
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        from training_sdk.replay.export import export  # the extra: a trainer's environment need not have it

        rows = export(options)
    except ModuleNotFoundError as error:
        print(f'export needs {error.name}: pip install "training-sdk[analysis]"', file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"cannot be exported: {error}", file=sys.stderr)
        return 1
    print(f"{rows} rows in {options.to}")
    return 0


def _process_exited(options: argparse.Namespace) -> int:
    if options.exit_code is None and options.signal is None:
        print("give --exit-code or --signal", file=sys.stderr)
        return 2
    data = {name: getattr(options, name) for name in ("exit_code", "signal", "pid", "reason")}
    if options.reason_from_input:
        data["reason"] = sys.stdin.buffer.read().decode("utf-8", "replace") or None
    return _say(lambda: report_process_exited(**data, timeout_s=options.timeout))


def _limit_exceeded(options: argparse.Namespace) -> int:
    data = {name: getattr(options, name) for name in ("limit", "allowed", "used", "error_code", "reason")}
    return _say(lambda: report_from_outside(LIMIT_EXCEEDED, data, timeout_s=options.timeout))


def _say(report: Callable[[], bool]) -> int:
    try:
        sent = report()
    except (OSError, ValueError) as error:
        print(f"cannot be recorded: {error}", file=sys.stderr)
        return 1
    if not sent:
        print(f"waits in the spool: {RunSettings.from_env().spool_dir}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
