"""Time and memory over rows, length, batch and model size: ``python -m fairtune.scaling``."""
