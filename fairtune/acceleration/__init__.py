"""What makes a training step fast without changing what it computes."""
