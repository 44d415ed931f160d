"""Evaluation data in the layouts that people have on disk: a reader per layout."""
