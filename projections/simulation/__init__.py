"""What if other rules of early stopping had watched the past runs: computed from the log alone, tells nobody."""
