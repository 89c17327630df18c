"""Files in the object store: data sets come down, checkpoints go up."""
