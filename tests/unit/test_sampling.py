import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.permutation import permute
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch


@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_permutation_is_a_bijection(size, number):
    assert sorted(permute(np.arange(size), size, key(number)).tolist()) == list(range(size))


def test_permutations_differ_by_key_and_look_shuffled():
    first, second = (permute(np.arange(10_000), 10_000, key(number)) for number in (1, 2))
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, np.arange(10_000))[0, 1]) < 0.05
    # Neighbours are torn apart: the mean step of a random permutation of n is n / 3.
    assert abs(np.abs(np.diff(first)).mean() / 10_000 - 1 / 3) < 0.02


def test_permutation_of_a_huge_range_needs_no_memory():
    size = 3 * 10**11
    out = permute(np.array([0, 1, size - 1]), size, key(5))
    assert len(set(out.tolist())) == 3 and out.min() >= 0 and out.max() < size


def test_alpha_is_fairseqs():
    counts = np.array([10, 1000, 0, 100_000])
    prob = counts / counts.sum()
    expected = prob**0.3 / (prob[prob > 0] ** 0.3).sum() * counts.sum()
    draws = draws_per_epoch(counts, "alpha", 0.3)
    assert np.abs(draws - np.where(counts > 0, expected, 0)).max() <= 0.5
    assert draws_per_epoch(counts, "alpha", 1.0).tolist() == counts.tolist()


def test_glot500_scheme_by_hand():
    # min_count 2, scale 30: head languages get 60; the tail 60 * (count / 2) ** 0.3.
    counts, head = np.array([500, 2, 64, 9000]), np.array([True, False, False, True])
    assert draws_per_epoch(counts, "glot500", 0.3, head, 30).tolist() == [60, 60, round(60 * 32**0.3), 60]


def test_counting_lines():
    """The scheme decides how often a language's lines repeat, and its blocks repeat as often."""
    blocks, lines = np.array([100, 40, 0, 10]), np.array([1000, 4000, 0, 50])
    head = np.array([True, False, False, False])
    # glot500: min_count 50; head 30 * 50 lines; tail 30 * 50 * (lines / 50) ** 0.3.
    repeats = [1500 / 1000, 1500 * 80**0.3 / 4000, 0, 1500 / 50]
    draws = draws_per_epoch(blocks, "glot500", 0.3, head, 30, lines)
    assert draws.tolist() == np.rint(repeats * blocks).tolist()
    # alpha: shares of lines by lines ** alpha, turned into blocks; an epoch as long as the data.
    share = np.array([1000**0.5 / 1000 * 100, 4000**0.5 / 4000 * 40, 0, 50**0.5 / 50 * 10])
    draws = draws_per_epoch(blocks, "alpha", 0.5, lines=lines)
    assert np.abs(draws - share / share.sum() * 150).max() <= 0.5
    # Control: with alpha 1 every line comes once, however counted; where lines are blocks, nothing changes.
    assert draws_per_epoch(blocks, "alpha", 1.0, lines=lines).tolist() == blocks.tolist()
    assert (
        draws_per_epoch(blocks, "alpha", 0.3, lines=blocks).tolist() == draws_per_epoch(blocks, "alpha", 0.3).tolist()
    )
    assert draws_per_epoch(blocks, "alpha", 0.3, lines=lines).tolist() != draws_per_epoch(blocks, "alpha", 0.3).tolist()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**7), st.booleans()), min_size=1, max_size=20),
    st.sampled_from(["alpha", "glot500"]),
    st.floats(0, 1.5),
    st.booleans(),
)
def test_every_language_is_reached(languages, scheme, alpha, by_lines):
    counts, lines, head = (np.array(column) for column in zip(*languages))
    counts[0] = max(counts[0], 1)
    draws = draws_per_epoch(counts, scheme, alpha, head, 30.0, lines if by_lines else None)
    assert ((draws > 0) == (counts > 0)).all()
    if scheme == "alpha":
        assert abs(draws.sum() - counts.sum()) <= 1.5 * len(counts)  # rounding, and 1 for who would get none


@pytest.mark.parametrize("wrong", [{"scheme": "x"}, {"alpha": -1.0}, {"scheme": "glot500"}, {"counts": np.zeros(3)}])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError):
        draws_per_epoch(**{"counts": np.array([1, 2]), **wrong})


def make_sampler(counts, draws, seed=1):
    return BlockSampler(np.array(counts), np.array(draws), key(np.arange(len(counts))), seed)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 90)), min_size=1, max_size=6),
    st.integers(0, 99),
    st.integers(1, 5),
)
def test_every_block_once_per_pass(languages, seed, epochs):
    """However often a language is drawn, no block comes a second time before all came once."""
    counts, draws = zip(*languages)
    sampler = make_sampler(counts, draws, seed)
    located = [sampler.locate(visit, np.arange(len(sampler))) for visit in range(epochs)]
    for number, (count, draw) in enumerate(languages):
        seen = np.concatenate([block[language == number] for language, block, _ in located])
        assert len(seen) == draw * epochs
        times = np.bincount(seen, minlength=count)
        assert len(times) == count and times.max() - times.min() <= 1


def test_passes_have_orders_of_their_own():
    sampler = make_sampler([50], [50])
    first, second = (sampler.locate(visit, np.arange(50))[1] for visit in (0, 1))
    assert sorted(first) == sorted(second) and (first == second).mean() < 0.2


@given(st.integers(1, 30), st.integers(1, 300), st.integers(1, 4))
def test_no_block_comes_twice_in_a_pass(count, draw, visits):
    sampler = make_sampler([count, 11], [draw, 5])
    located = [np.stack(sampler.locate(visit, np.arange(len(sampler)))) for visit in range(visits)]
    seen = np.concatenate(located, axis=1).T
    assert len(np.unique(seen, axis=0)) == len(seen) == visits * (draw + 5)
    assert seen[seen[:, 0] == 0, 2].max() == (visits * draw - 1) // count


def test_order_is_a_function_of_position():
    sampler = make_sampler([40, 7, 90], [40, 30, 60])
    whole = np.stack(sampler.locate(2, np.arange(len(sampler))))
    some = np.array([129, 3, 77])
    assert (np.stack(sampler.locate(2, some)) == whole[:, some]).all()
    # Control: another seed and another epoch are other orders.
    assert (np.stack(make_sampler([40, 7, 90], [40, 30, 60], 2).locate(2, np.arange(130))) != whole).any()
    assert (np.stack(sampler.locate(1, np.arange(130))) != whole).any()


def test_languages_are_mixed():
    sampler = make_sampler([500, 500], [500, 500])
    language = sampler.locate(0, np.arange(1000))[0]
    assert 0.4 < language[:500].mean() < 0.6
