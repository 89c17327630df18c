"""Metrics of a job: history per epoch, series in columns."""
