"""fairseq's checkpoints: reading them safely, what their weights are called, the two tables in them."""
