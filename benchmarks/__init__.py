"""Measurements of ours beside Trackio and MLflow, on one machine, in one run. Method: README.md of this folder."""
