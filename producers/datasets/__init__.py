"""Registering data sets: read, check, describe."""

from typing import Final

READING: Final = "reading "
"""Stands before what is read now, on the inspection's standard error: for whoever is left when that process is not."""
