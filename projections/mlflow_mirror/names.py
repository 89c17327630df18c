"""What our names are called in MLflow."""

from __future__ import annotations

import re
from typing import Final

# What MLflow's server accepts in a metric's or parameter's name.
_REFUSED: Final = re.compile(r"[^\w.\- /:]")
NAME_LENGTH_MAX: Final = 250
PARAMETER_LENGTH_MAX: Final = 6_000
TAG_JOB: Final = "epochlog.job_id"
EXPERIMENT: Final = "epochlog"


def mlflow_key(name: str) -> str:
    """A series name as MLflow takes it: brackets and the like become ``_``, everything else stays as it is."""
    return _REFUSED.sub("_", name)[:NAME_LENGTH_MAX]
