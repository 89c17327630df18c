"""From a call on the training thread to a record in the log: ring, spool, sender, transports."""
