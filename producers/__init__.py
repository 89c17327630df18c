"""The write side: what may be asked, what follows from it, and how it gets into the log. Knows no web framework."""
