"""Registering data sets: read, check, describe."""
