"""How records become rows: one transaction a batch, whoever carries the records."""
