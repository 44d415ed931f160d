import numpy as np
import pytest
from support import MASK, PAD, VOCAB, make_masking

from langsamp_plugin.data.hashing import key, to_unit, uniforms
from langsamp_plugin.data.masking import mask_batch


def make_tokens(rows=400, length=300, seed=0):
    generator = np.random.default_rng(seed)
    tokens = generator.integers(4, MASK, (rows, length))
    tokens[:, 0] = 0
    tokens[generator.random((rows, length)) < 0.05] = 2
    tokens[generator.random((rows, length)) < 0.01] = 3
    for row in range(rows):
        tokens[row, length - row % 40 :] = PAD
    return tokens


def test_statistics_over_100000_tokens():
    masking, tokens = make_masking(), make_tokens()
    source, target = mask_batch(tokens, key(np.arange(len(tokens))), masking)
    maskable = ~masking.special[tokens]
    assert maskable.sum() > 100_000
    chosen = target != PAD
    assert not chosen[~maskable].any(), "a special token was masked"
    assert (source[~chosen] == tokens[~chosen]).all() and (target[chosen] == tokens[chosen]).all()
    n = chosen.sum()
    assert abs(n / maskable.sum() - 0.15) < 0.001
    became_mask, kept = (source[chosen] == MASK).mean(), (source[chosen] == tokens[chosen]).mean()
    spread = 4 * np.sqrt(0.8 * 0.2 / n)  # four standard deviations
    assert abs(became_mask - 0.8) < spread
    assert abs(kept - 0.1) < spread + 1 / VOCAB  # a random token is the old one now and then
    random = source[chosen & (source != MASK) & (source != tokens)]
    assert not masking.special[random].any(), "a special token was drawn"
    counts = np.bincount(random, minlength=VOCAB)[4:MASK]
    # Uniform over the 995 pieces: chi-squared within five standard deviations of its mean.
    expected = len(random) / 995
    assert abs(((counts - expected) ** 2 / expected).sum() - 994) < 5 * np.sqrt(2 * 994)


def test_each_row_has_its_exact_share():
    masking, tokens = make_masking(), make_tokens(50)
    _, target = mask_batch(tokens, key(np.arange(50)), masking)
    expected = 0.15 * (~masking.special[tokens]).sum(1)
    assert (np.abs((target != PAD).sum(1) - expected) < 1).all()


def test_positions_are_uniform():
    tokens = np.full((20_000, 12), 7)
    _, target = mask_batch(tokens, key(np.arange(20_000)), make_masking())
    share = (target != PAD).mean(0)
    assert np.abs(share - 0.15).max() < 5 * np.sqrt(0.15 * 0.85 / 20_000)


def test_a_row_does_not_depend_on_its_batch():
    masking, tokens = make_masking(), make_tokens(6, 50)
    keys = key(np.arange(6))
    source, target = mask_batch(tokens, keys, masking)
    alone = mask_batch(tokens[3:4], keys[3:4], masking)
    assert (alone[0] == source[3]).all() and (alone[1] == target[3]).all()
    wider = np.full((1, 80), PAD)
    wider[:, :50] = tokens[3]
    assert (mask_batch(wider, keys[3:4], masking)[0][0, :50] == source[3]).all()
    # Control: another key masks otherwise.
    assert (mask_batch(tokens[3:4], key(np.array([99])), masking)[1] != target[3]).any()


def test_whole_words():
    begins = np.zeros(VOCAB, dtype=bool)
    begins[:500] = True
    masking, tokens = make_masking(word_begins=begins), make_tokens(300, 200)
    _, target = mask_batch(tokens, key(np.arange(300)), masking)
    chosen, maskable = target != PAD, ~masking.special[tokens]
    assert not chosen[~maskable].any()
    inside = maskable[:, 1:] & ~begins[tokens[:, 1:]] & maskable[:, :-1]
    assert (chosen[:, 1:] == chosen[:, :-1])[inside].all(), "a word was split"
    assert abs(chosen.sum() / maskable.sum() - 0.15) < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 0)])
def test_tiny_batches(shape):
    for masking in (make_masking(), make_masking(word_begins=np.ones(VOCAB, dtype=bool))):
        source, target = mask_batch(np.full(shape, 7), key(np.arange(shape[0])), masking)
        assert source.shape == target.shape == shape


def test_nothing_to_mask():
    source, target = mask_batch(np.full((2, 5), 2), key(np.arange(2)), make_masking())
    assert (source == 2).all() and (target == PAD).all()


def test_frequency_weighted_replacement():
    weights = np.zeros(VOCAB)
    weights[[10, 20]] = 1, 3
    masking = make_masking(random_token_prob=1.0, leave_unmasked_prob=0.0)._replace(replacements=np.cumsum(weights) / 4)
    source, target = mask_batch(np.full((100, 400), 500), key(np.arange(100)), masking)
    drawn = source[target != PAD]
    assert set(drawn.tolist()) == {10, 20} and abs((drawn == 20).mean() - 0.75) < 0.03


@pytest.mark.parametrize(
    "wrong", [{"mask_prob": 0.0}, {"mask_prob": 1.0}, {"leave_unmasked_prob": -0.1}, {"random_token_prob": 0.95}]
)
def test_wrong_probabilities(wrong):
    with pytest.raises(ValueError, match="but (is|are)"):
        make_masking(**wrong).check()


def test_hash_is_uniform():
    draws = to_unit(uniforms(key(np.arange(1000)), 200))
    assert abs(draws.mean() - 0.5) < 0.003 and abs(draws.std() - 12**-0.5) < 0.002
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.15
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.15
