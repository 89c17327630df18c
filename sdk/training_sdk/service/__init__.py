"""The service as a client sees it: requests, and the WebSocket with live updates. Standard library and orjson."""
