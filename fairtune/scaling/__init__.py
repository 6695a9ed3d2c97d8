"""Time and memory over rows, length, batch and width: ``python -m fairtune.scaling``."""
