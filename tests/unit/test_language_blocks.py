"""Block arithmetic: for all sizes, every token is in exactly one block, and every block occurs once per pass."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch
from langsamp_plugin.lang_script import LangScript

TAGS = [LangScript.parse(tag) for tag in ("eng_Latn", "deu_Latn", "rus_Cyrl", "hin_Deva", "zul_Latn")]


def language(tag, sizes, block_size):
    """Blocks over buffers of these sizes; every token is its own place in the language."""
    starts = np.cumsum([0, *sizes])
    buffers = [
        SimpleNamespace(
            num_tokens=size,
            num_sentences=0,
            prefix="x",
            read=lambda first, last, start=start: np.arange(start + first, start + last),
        )
        for start, size in zip(starts, sizes)
    ]
    return LanguageBlocks(tag, buffers, block_size=block_size, vocab_size=int(starts[-1]) + 1)


LANGUAGES = st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(deadline=None)
@given(LANGUAGES, st.integers(1, 130))
def test_every_token_is_in_one_block(sizes_of, block_size):
    for tag, sizes in zip(TAGS, sizes_of):
        blocks = language(tag, sizes, block_size)
        parts = [blocks.block(number) for number in range(len(blocks))]
        assert np.concatenate([np.empty(0, int), *parts]).tolist() == list(range(sum(sizes)))
        assert all(0 < len(part) <= block_size for part in parts)
        assert sum(len(part) < block_size for part in parts) == blocks.num_short <= len(sizes)


@settings(deadline=None, max_examples=50)
@given(LANGUAGES, st.integers(1, 130), st.floats(0, 1), st.integers(0, 99), st.integers(1, 4), st.data())
def test_every_token_once_a_pass(sizes_of, block_size, alpha, seed, workers, data):
    """Epoch after epoch, over any number of workers, until the language drawn least was seen completely."""
    languages = [language(tag, sizes, block_size) for tag, sizes in zip(TAGS, sizes_of)]
    languages = [blocks for blocks in languages if len(blocks)]
    if not languages:
        return
    counts = np.array([len(blocks) for blocks in languages])
    draws = draws_per_epoch(counts, "alpha", alpha)
    sampler = BlockSampler(counts, draws, np.array([blocks.key for blocks in languages]), seed)
    epochs = int(np.ceil(counts / draws).max())
    seen = [np.zeros(blocks.num_tokens, dtype=int) for blocks in languages]
    for epoch in range(epochs):
        for worker in data.draw(st.permutations(range(workers))):
            positions = np.arange(worker, len(sampler), workers)
            if not len(positions):
                continue
            for number, block, _ in zip(*(part.tolist() for part in sampler.locate(epoch, positions))):
                seen[number][languages[number].block(block)] += 1
    for times, count, draw in zip(seen, counts, draws):
        assert times.min() >= 1, "every token is reached"
        assert times.max() - times.min() <= 1, "none twice before all came once"
        assert times.max() == -(-draw * epochs // count)


def test_blocks_of_a_corpus_too_large_for_memory():
    """Arithmetic over 10**12 tokens: nothing is materialised and nothing overflows."""
    buffer = SimpleNamespace(num_tokens=10**12 + 5, num_sentences=10**11, prefix="x")
    blocks = LanguageBlocks(TAGS[0], [buffer, buffer], block_size=511, vocab_size=10)
    half = -(-(10**12 + 5) // 511)
    assert len(blocks) == 2 * half
    assert blocks.span(half - 1) == (0, (half - 1) * 511, 10**12 + 5) and blocks.span(half) == (1, 0, 511)
    sampler = BlockSampler(np.array([2 * half]), np.array([2 * half]), np.array([7], dtype=np.uint64), 1)
    _, found, _ = sampler.locate(0, np.arange(2 * half - 1000, 2 * half))
    assert len(set(found.tolist())) == 1000 and found.min() >= 0 and found.max() < 2 * half
