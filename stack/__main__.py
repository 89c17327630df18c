"""The local stack: ``python -m stack up | down | ps | env | logs | clean-data``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import shutil
import sys

from stack.control import NotReady, down, log_files, process_rows, up
from stack.keeper import keep, read_state
from stack.ports import PortTaken
from stack.services import SERVICE_NAMES, chosen
from stack.settings import InvalidSetting, Settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    help_names = f"of {', '.join(SERVICE_NAMES)}; all of them when none is given"
    for verb, text in (("up", "start in the background, return when ready"), ("keep", "the keeper itself")):
        verbs.add_parser(verb, help=text).add_argument("services", nargs="*", help=help_names)
    verbs.add_parser("down", help="stop everything")
    verbs.add_parser("ps", help="one JSON object a line per process")
    verbs.add_parser("env", help="export lines for any client")
    verbs.add_parser("logs", help="follow all logs")
    verbs.add_parser("clean-data", help="remove all data of the local stack")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (InvalidSetting, PortTaken, NotReady, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    settings = Settings.from_env()
    match options.verb:
        case "up":
            started = up(settings, options.services, say=lambda line: print(line, flush=True))
            print("ready" if started else "ready (was up already)")
        case "keep":
            asyncio.run(keep(settings, chosen(options.services, settings)))
        case "down":
            print("stopped" if down(settings) else "nothing was running")
        case "ps":
            for row in process_rows(settings):
                print(json.dumps(row))
        case "env":
            for name, value in settings.client_environment().items():
                print(f"export {name}={shlex.quote(value)}")
        case "logs":
            files = [str(path) for path in log_files(settings)]
            if not files:
                print(f"no logs in {settings.log_dir} yet", file=sys.stderr)
                return 1
            os.execvp("tail", ["tail", "-n", "20", "-F", *files])
        case "clean-data":
            if read_state(settings) is not None:
                print("the stack is running; stop it first: make down", file=sys.stderr)
                return 1
            shutil.rmtree(settings.data_dir, ignore_errors=True)
            print(f"removed {settings.data_dir}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
