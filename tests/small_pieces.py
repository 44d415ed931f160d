"""Texts cut into small pieces for the binarizer, and the results."""

import numpy as np

from langsamp_plugin.data.token_buffer import TokenBuffer


def read_split(folder, tokenizer, split):
    """Return the lines of a binarized split, through SentencePiece's own decoder."""
    buffer = TokenBuffer(folder / split)
    ends = np.cumsum(buffer.sizes())
    return [
        tokenizer.processor.decode([int(t) - 1 for t in part[:-1]])
        for part in np.split(buffer.read(0, buffer.num_tokens).astype(int), ends[:-1])
    ]


def same_data(one, other):
    """Compare every file that training reads, byte for byte."""
    names = sorted(
        path.relative_to(one) for path in one.rglob("*") if path.suffix in (".bin", ".idx", ".tsv", ".txt", ".model")
    )
    assert names == sorted(
        path.relative_to(other)
        for path in other.rglob("*")
        if path.suffix in (".bin", ".idx", ".tsv", ".txt", ".model")
    )
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert len([name for name in names if name.suffix == ".bin"]) > 7
    assert not list(other.glob("*/.pieces*")) and not list(other.rglob("*.tmp"))
