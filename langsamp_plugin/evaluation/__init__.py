"""Measuring models: validation tables, tag swaps, sentence retrieval."""
