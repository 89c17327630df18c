"""The data of every event, one file per family. Names are past tense; fields are snake case with units last."""
