"""fairseq checkpoints: safe loading, names of weights, the two tables."""
