"""Data sets and models that jobs are made of."""
