"""Sentences, tables and the paper, from what the pipeline wrote."""
