"""Read models folded from the log again: rebuilt, verified, and what other rules would have decided."""
