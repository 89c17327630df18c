"""The MLflow mirror: every run as an MLflow run. An outage of MLflow only makes lag."""
