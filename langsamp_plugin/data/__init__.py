"""Binarized text and the batches that are drawn from it."""
