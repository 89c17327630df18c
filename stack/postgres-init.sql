-- Run once by the Postgres image: MLflow's tables lie in a database of their own.
CREATE DATABASE mlflow;
