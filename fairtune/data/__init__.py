"""From a corpus to token ids: reading, cleaning, drawing the splits, tokenization."""
