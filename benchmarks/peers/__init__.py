"""The systems that ours is measured beside, as their own documentation says to use them; telemetry off."""
