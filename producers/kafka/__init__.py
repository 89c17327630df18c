"""The producers of the log: the real publisher and one in memory, under one contract."""
