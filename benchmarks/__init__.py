"""Measurements of fairtune itself: ``python -m benchmarks.<name> --help``."""
