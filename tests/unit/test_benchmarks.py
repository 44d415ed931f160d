"""What the benchmarks share, and the table of speed that is made of the committed measurements."""

import csv
import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))
import measuring
import speed_table
import step_profile


def test_the_table_is_generated():
    rows = speed_table.read_rows(ROOT / "examples" / "benchmarks")
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert {row["side"] for row in rows} >= {"langsamp", "fairseq", "huggingface"}
    assert speed_table.with_table(page, rows) == page
    changed = [{**row, "tokens_per_s": str(float(row["tokens_per_s"]) * 2)} for row in rows]
    assert speed_table.with_table(page, changed) != page


def test_flops_by_hand():
    """XLM-R base: 85 million weights in the blocks, 0.51 GFLOP a token and 0.17 for the head at 15 % masked."""
    work = step_profile.flops(250_002, (8, 128), 0.15 * 1024)
    assert abs(work["encoder"] / 1024 - (6 * 84_934_656 + 12 * 12 * 768 * 128)) < 1
    assert round(work["head"] / 1024 / 1e9, 2) == 0.17


def test_rows_are_printed_and_recorded_as_they_come(tmp_path, capsys):
    table = measuring.Table({"side": 6, "seconds": 8, "conditions": 0}, str(tmp_path / "record.csv"))
    table.add(side="ours", seconds="1.5", conditions="two cores")
    with open(tmp_path / "record.csv", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream)) == [{"side": "ours", "seconds": "1.5", "conditions": "two cores"}]
    table.add(side="stock")
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["  side   seconds", "  ours       1.5", " stock          "]
    with pytest.raises(ValueError, match="secs is not"):
        table.add(secs="2")


def test_a_side_that_fails_is_a_row_and_not_the_end(tmp_path):
    script = tmp_path / "side.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts' / 'benchmarks')!r})\n"
        "from measuring import give_result\n"
        "give_result(seconds=2.5) if sys.argv[1] == 'well' else sys.exit('CUDA out of memory. Tried to allocate')\n"
    )
    assert measuring.run_side(script, "well") == {"seconds": 2.5}
    with pytest.raises(measuring.SideFailed, match="out of memory"):
        measuring.run_side(script, "ill")
