"""Write the table of training speed from the CSV files that scripts/benchmarks/train.py wrote.

python scripts/benchmarks/speed_table.py            # examples/benchmarks/*.csv -> docs/benchmarks.md
"""

import csv
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
BEGIN, END = "<!-- benchmark table: begin -->\n", "<!-- benchmark table: end -->\n"
NAMES = {"langsamp": "this plugin", "fairseq": "stock fairseq `masked_lm`", "huggingface": "Hugging Face, as `run_mlm`"}


def table(rows: list[dict[str, str]]) -> str:
    """Return a Markdown table; ratios are to stock fairseq at the same size, where that was measured."""
    lines = [
        "| | words | batch | precision | tokens/s | | extra memory | | of the arithmetic peak |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        same = [
            other for other in rows if all(other[key] == row[key] for key in ("words", "shape", "precision", "file"))
        ]
        stock = next((other for other in same if other["side"] == "fairseq"), None)
        ratios = ["", ""]
        if stock is not None and stock is not row:
            ratios = [f"x {float(row[key]) / float(stock[key]):.2f}" for key in ("tokens_per_s", "extra_mb")]
        lines.append(
            f"| {NAMES[row['side']]} | {int(row['words']):,} | {row['shape'].replace('x', ' x ')} | {row['precision']} "
            f"| {float(row['tokens_per_s']):,.0f} | {ratios[0]} | {int(row['extra_mb']):,} MB | {ratios[1]} "
            f"| {float(row['mfu_percent']):.0f} % |"
        )
    conditions = sorted({row["settings"].split(", fused_adamw")[0] for row in rows})
    updates = " or ".join(map(str, sorted({int(row["updates"]) for row in rows})))
    worst = [float(row["largest_difference"]) for row in rows if row["largest_difference"]]
    lines += [
        "",
        f"{'; '.join(conditions)}; {updates} updates. XLM-R base's sizes; extra memory is the peak above parameters,",
    ]
    lines += [
        "gradients and optimizer state. "
        + (f"Losses of the first two differ by at most {max(worst):.0e}." if worst else "")
    ]
    return "\n".join(lines).rstrip() + "\n"


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read the rows of training steps in all CSV files of a folder, in order of their names."""
    rows = []
    for path in sorted(folder.glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as stream:
            rows += [{**row, "file": path.name} for row in csv.DictReader(stream) if "side" in row]
    return rows


def with_table(page: str, rows: list[dict[str, str]]) -> str:
    """Return the page with its table replaced."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + table(rows) + END + rest.split(END)[1]


def main() -> None:
    """Rewrite docs/benchmarks.md."""
    from langsamp_plugin.atomic import atomic_write

    path = ROOT / "docs" / "benchmarks.md"
    text = with_table(path.read_text(encoding="utf-8"), read_rows(ROOT / "examples" / "benchmarks"))
    with atomic_write(path) as stream:
        stream.write(text)


if __name__ == "__main__":
    main()
