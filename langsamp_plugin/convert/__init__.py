"""Between fairseq's checkpoints and Hugging Face folders, and from one vocabulary to another."""
