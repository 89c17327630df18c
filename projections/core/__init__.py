"""Read models of the core process: jobs, checkpoints, metrics, logs, system, data sets, models."""
