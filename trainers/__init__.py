"""What trains: the launcher, a supervisor per attempt, and one linear script per framework."""
