"""Binarized text and the batches drawn from it."""
