"""Conversion between fairseq checkpoints and Hugging Face folders, and from one vocabulary to another."""
