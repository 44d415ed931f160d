"""The README's table of speed is what its generator makes of the committed measurements."""

import sys

from support import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import benchmark_profile
import benchmark_table


def test_readme_is_generated():
    rows = benchmark_table.read_rows(ROOT / "examples" / "benchmarks")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {row["side"] for row in rows} >= {"langsamp", "fairseq", "huggingface"}
    assert benchmark_table.with_table(readme, rows) == readme
    changed = [{**row, "tokens_per_s": str(float(row["tokens_per_s"]) * 2)} for row in rows]
    assert benchmark_table.with_table(readme, changed) != readme


def test_flops_by_hand():
    """XLM-R base: 85 million weights in the blocks, 0.51 GFLOP a token and 0.17 for the head at 15 % masked."""
    work = benchmark_profile.flops(250_002, (8, 128), 0.15 * 1024)
    assert abs(work["encoder"] / 1024 - (6 * 84_934_656 + 12 * 12 * 768 * 128)) < 1
    assert round(work["head"] / 1024 / 1e9, 2) == 0.17
