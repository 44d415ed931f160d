"""What the embeddings know: neighbours and pictures."""
