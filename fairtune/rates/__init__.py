"""The choice of each learning rate from its trials, and the extension of all ranges."""
