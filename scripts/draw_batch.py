"""Draws the path of a batch from the binarized data to the loss: docs/batch.svg."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STEPS = [
    ("<tag>/train.bin", "tokens of one language,\nfairseq's mmap format"),
    ("blocks", "order: a function of\n(seed, epoch, position)"),
    ("masks", "a function of (seed, epoch,\nlanguage, block, pass)"),
    ("transformer blocks", "src_tokens (B, T)\nto h (B, T, C)"),
    ("masked positions", "selected from h:\nh (N, C)"),
    ("+ E_lang + E_script", "o = h + E_lang[l] + E_script[s]\nlang_ids, script_ids (B,)"),
    ("MLM head, loss", "logits in blocks of rows,\nnever all of them"),
]
OUT = Path(__file__).resolve().parents[1] / "docs" / "batch.svg"


def draw(out: Path) -> None:
    """Write the picture."""
    matplotlib.rcParams.update({"svg.hashsalt": "langsamp", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(10, 4.4))
    for number, (title, detail) in enumerate(STEPS):
        row, column = divmod(number, 4)
        x, y = 2.5 * (column if row == 0 else 3 - column), -2.0 * row
        tables = title.startswith("+")
        axes.add_patch(plt.Rectangle((x, y), 2, 1.2, facecolor="#ffe9c7" if tables else "#e6eef8", edgecolor="#44546a"))
        axes.text(x + 1, y + 0.88, title, ha="center", va="center", fontsize=9, weight="bold")
        axes.text(x + 1, y + 0.38, detail, ha="center", va="center", fontsize=7)
        if number == len(STEPS) - 1:
            continue
        if column == 3:
            start, end = (x + 1, y), (x + 1, y - 0.8)
        else:
            start, end = ((x + 2, y + 0.6), (x + 2.5, y + 0.6)) if row == 0 else ((x, y + 0.6), (x - 0.5, y + 0.6))
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#44546a"})
    axes.set(xlim=(-0.1, 9.7), ylim=(-2.1, 1.4))
    axes.axis("off")
    figure.savefig(out, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(OUT)
