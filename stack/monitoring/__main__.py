"""``python -m stack.monitoring [--check]``: write the dashboard, or say that the file is out of date."""

from __future__ import annotations

import sys

from stack.monitoring.dashboard import PATH, dashboard_json


def main(arguments: list[str]) -> int:
    wanted = dashboard_json()
    if arguments == ["--check"]:
        if PATH.read_text() == wanted:
            return 0
        print(f"{PATH.name} is out of date; run: python -m stack.monitoring", file=sys.stderr)
        return 1
    PATH.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
