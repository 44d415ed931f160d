"""Analyses of trained models: embeddings, neutrality, source languages, tags."""
