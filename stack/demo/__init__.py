"""``make demo``: a real data set, a real training, followed live, and a table that says whether all of it holds."""
