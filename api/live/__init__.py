"""The log fanned out to WebSockets."""
