"""The log as events and as data frames, from Kafka or from the archive. Wants ``training-sdk[analysis]``.

The names are loaded when they are first used: the archive's writer needs ``training_sdk.replay.columns`` and nothing
else.
"""
