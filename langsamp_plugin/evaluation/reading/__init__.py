"""Readers of evaluation data, one per layout."""
