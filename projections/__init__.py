"""The read models: folds of the log into Postgres, and the MLflow mirror. The only writer of the read tables."""
