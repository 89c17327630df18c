"""Ultralytics (AGPL-3.0): imported in this package and in its own process only."""
