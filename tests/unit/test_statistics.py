"""Whether one model is better than another: against scipy, by hand, and on luck alone."""

import inspect

import numpy as np
import pytest

from langsamp_plugin.report.statistics import Resamples, compare, holm, sign_flip_test, spell_p


def test_languages_alone_against_scipy():
    """Without seeds, as in retrieval: interval and p over languages."""
    from scipy.stats import bootstrap, ttest_1samp

    generator = np.random.default_rng(3)
    base = generator.normal(50, 20, (48, 1))
    gains = generator.normal(1.0, 3.0, (48, 1))
    resamples = Resamples()
    found = compare(base, base + gains, seeds=False, resamples=resamples)
    seed = {"rng" if "rng" in inspect.signature(bootstrap).parameters else "random_state": 1}  # before scipy 1.15
    resampled = bootstrap((gains[:, 0],), np.mean, n_resamples=10_000, method="percentile", **seed)
    expected = resampled.confidence_interval
    assert found.mean == pytest.approx(gains.mean()) and found.languages == 48 and found.about == "languages"
    assert found.low == pytest.approx(expected.low, abs=0.06) and found.high == pytest.approx(expected.high, abs=0.06)
    assert found.p == pytest.approx(ttest_1samp(gains[:, 0], 0).pvalue, abs=0.01)
    assert compare(base, base + gains, seeds=False, resamples=Resamples()) == found, "the same resamples every time"
    assert compare(base + gains, base, seeds=False, resamples=resamples).mean == pytest.approx(-gains.mean())
    assert compare(base, base, seeds=False, resamples=resamples).p == 1.0
    assert compare(base, base + 5, seeds=False, resamples=resamples).p == pytest.approx(1 / 10_001)


def test_the_luck_of_a_seed_is_not_a_difference():
    """All languages share a fine-tuned model: two models of one distribution differ in all of them at once."""
    generator = np.random.default_rng(0)
    languages = generator.normal(60, 10, (354, 1))
    alarms = 0
    for _ in range(100):
        one, two = (languages + generator.normal(0, 4.2, (1, 4)) + generator.normal(0, 2, (354, 4)) for _ in range(2))
        alarms += compare(one, two, seeds=True, resamples=Resamples()).p < 0.05
    assert alarms <= 12, "binomial: 5 % of 100 is above 12 in one of 900"
    # The control: what was done before, languages resampled after averaging seeds.
    alarms = 0
    for _ in range(20):
        one, two = (languages + generator.normal(0, 4.2, (1, 4)) + generator.normal(0, 2, (354, 4)) for _ in range(2))
        averaged = (side.mean(1, keepdims=True) for side in (one, two))
        alarms += compare(*averaged, seeds=False, resamples=Resamples(500)).p < 0.05
    assert alarms >= 15


def test_a_true_gain_is_found():
    generator = np.random.default_rng(1)
    languages = generator.normal(60, 10, (172, 1))
    one = languages + generator.normal(0, 0.5, (1, 5)) + generator.normal(0, 2, (172, 5))
    two = languages + 2.0 + generator.normal(0, 0.5, (1, 5)) + generator.normal(0, 2, (172, 5))
    found = compare(one, two, seeds=True, resamples=Resamples())
    assert found.p < 0.01 and found.low < 2.0 < found.high and found.about == "models"


def test_one_seed_tests_no_model():
    generator = np.random.default_rng(1)
    one = generator.normal(60, 10, (50, 1))
    found = compare(one, one + 3 + generator.normal(0, 1, (50, 1)), seeds=True, resamples=Resamples())
    assert found.p is None and found.about == "this run" and "this run only" in found.method
    assert found.low < 3 < found.high
    assert compare(one, np.hstack([one, one]), seeds=True, resamples=Resamples()).p is None


def test_few_languages():
    """Gains of +0.1, +0.2 ... cannot be significant: signs of three can fall one way by chance in a quarter of all
    cases."""
    for count in range(1, 6):
        gains = 0.1 * np.arange(1, count + 1)[:, None]
        found = compare(np.zeros((count, 1)), gains, seeds=False, resamples=Resamples())
        assert found.p is None if count == 1 else found.p == 2 / 2**count
        assert (found.low is None) == (count == 1)
    assert sign_flip_test(np.array([1.0, 2.0, -3.0])) == 1.0
    assert sign_flip_test(np.array([1.0, 2.0, 4.0])) == 0.25


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
    assert spell_p(1 / 10_001) == "< 0.0002" and spell_p(None) == "no test" and spell_p(0.5) == "0.5000"
