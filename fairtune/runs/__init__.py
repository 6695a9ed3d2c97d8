"""What one stage leaves to the next: the token cache and the record of a training."""
