"""Runs the zero-shot tasks: reads their data, encodes, fine-tunes and scores."""
