"""Log lines of a job."""
