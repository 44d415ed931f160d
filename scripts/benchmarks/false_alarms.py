"""How often a comparison of two equal models says that they differ, and how often it finds a true gain.

    python scripts/benchmarks/false_alarms.py [--trials 1000]

Two models are drawn from one distribution: a score per language (sd 15), the luck of each fine-tuning seed, which moves
all languages together (sd 0.5, 1.3, 4.2: the paper's for NER, SIB200, Taxi1500), noise of language x seed (sd 2), and
for each language its own true difference (sd 1, mean 0: a claim about languages beyond the measured ones). A false
alarm is p < 0.05; power is the same with a true gain of 1 point. The table also has the false alarms of a two-level
bootstrap and of a bootstrap over languages.
"""

from __future__ import annotations

import argparse

import numpy as np

from langsamp_plugin.report.statistics import Resamples, compare

LANGUAGES, SEEDS, LUCK = (20, 354), (1, 4, 5), (0.5, 1.3, 4.2)
NOISE, OWN, SPREAD = 2.0, 1.0, 15.0


def draw(
    generator: np.random.Generator, *, languages: int, seeds: int, luck: float, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of two models, (languages, seeds) each, the second better by ``gain`` on average."""
    level = generator.normal(50, SPREAD, (languages, 1))
    own = generator.normal(gain, OWN, (languages, 1))
    one, other = (
        level + generator.normal(0, luck, (1, seeds)) + generator.normal(0, NOISE, (languages, seeds)) for _ in range(2)
    )
    return one, other + own


def two_level_bootstrap(generator: np.random.Generator, one: np.ndarray, other: np.ndarray, count: int = 400) -> float:
    """Return p of the percentile bootstrap that resamples seeds of each model, and languages in pairs."""
    weights = [
        generator.multinomial(side.shape[1], [1 / side.shape[1]] * side.shape[1], count) / side.shape[1]
        for side in (one, other)
    ]
    rows = generator.multinomial(len(one), np.full(len(one), 1 / len(one)), count) / len(one)
    gains = (rows @ other * weights[1]).sum(1) - (rows @ one * weights[0]).sum(1)
    below = int(min((gains <= 0).sum(), (gains >= 0).sum()))
    return min(1.0, 2 * (below + 1) / (count + 1))


def rates(*, languages: int, seeds: int, luck: float, gain: float, trials: int) -> dict[str, float]:
    """Return the share of trials with p < 0.05, in percent, per test."""
    generator = np.random.default_rng([languages, seeds, int(10 * luck), int(gain)])
    resamples = Resamples(400)
    hits = {"ours": 0, "two-level bootstrap": 0, "languages only": 0}
    for _ in range(trials):
        one, other = draw(generator, languages=languages, seeds=seeds, luck=luck, gain=gain)
        p = compare(one, other, seeds=True, resamples=resamples).p
        hits["ours"] += p is not None and p < 0.05
        hits["two-level bootstrap"] += two_level_bootstrap(generator, one, other) < 0.05
        averaged = [side.mean(1, keepdims=True) for side in (one, other)]
        alone = compare(averaged[0], averaged[1], seeds=False, resamples=resamples).p
        hits["languages only"] += alone is not None and alone < 0.05
    return {name: 100 * count / trials for name, count in hits.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    print(
        "| languages | seeds | sd of seeds | false alarms, % | power, 1 point, % | two-level bootstrap | languages "
        "only |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for languages in LANGUAGES:
        for seeds in SEEDS:
            for luck in LUCK:
                null = rates(languages=languages, seeds=seeds, luck=luck, gain=0.0, trials=trials)
                true = rates(languages=languages, seeds=seeds, luck=luck, gain=1.0, trials=trials)
                print(
                    f"| {languages} | {seeds} | {luck} | {null['ours']:.1f} | {true['ours']:.1f} | "
                    f"{null['two-level bootstrap']:.1f} | {null['languages only']:.1f} |",
                    flush=True,
                )
    print(f"{trials} trials each; with one seed the models cannot be tested, so no difference is reported.")


if __name__ == "__main__":
    main()
