"""Checkpoints in and out: safe loading, the key map, export and verification."""
