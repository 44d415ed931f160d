"""Running the zero-shot tasks: reading their data, encoding, fine-tuning, scoring."""
