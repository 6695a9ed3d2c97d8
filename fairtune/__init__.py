"""Compare ways of fine-tuning a transformer encoder for text classification, fairly."""

__version__ = "0.1.0"
