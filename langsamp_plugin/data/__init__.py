"""From text to batches: corpus, tokenizer, binarized buffers, sampling, masking."""
