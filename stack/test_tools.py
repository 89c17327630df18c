"""Programs that tests use and no wheel brings: ``python -m stack.test_tools`` installs their Debian packages.

Where it may (root and apt-get), else one line says what to install, and the tests that want it say so, too.
Prometheus is only unpacked: its package starts a daemon.
"""

from __future__ import annotations

import shutil
from typing import Final

from stack import prometheus_tools
from stack.install import apt_install

TOOLS: Final = {
    # program: the packages that bring it, and why it is wanted
    "chromium": (["chromium", "fonts-noto-cjk"], "the tests of the page need a browser, and letters for Korean"),
}


def main() -> int:
    for program, (packages, why) in TOOLS.items():
        if shutil.which(program) is None:
            try:
                apt_install(packages, why)
            except SystemExit as failure:
                print(failure.code)
    try:
        prometheus_tools.main()
    except SystemExit as failure:
        print(failure.code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
