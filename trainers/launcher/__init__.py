"""Starts, watches and stops runs: compares what should run with what runs."""
