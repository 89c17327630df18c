"""Early stopping: rules over the metrics of a run, and the decision to end it."""
