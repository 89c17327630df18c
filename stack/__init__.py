"""Kafka, Postgres, S3, MLflow and our own processes on a bare machine, without containers."""
