"""What the trainers' machines were doing."""
