"""The contract of the log: event types, envelope, topics, and what a job is, folded from its events.

Pure: no I/O, no clock.
"""
