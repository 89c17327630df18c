"""From DICE to what a framework reads."""
