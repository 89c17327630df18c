"""The read side and the door: queries, commands, callbacks, WebSocket."""
