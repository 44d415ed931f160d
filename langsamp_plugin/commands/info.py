"""Commands that describe folders, checkpoints and the installation."""

from __future__ import annotations

from pathlib import Path

import typer

from langsamp_plugin.commands.app import app, finite


@app.command()
def info(
    path: Path = typer.Argument(..., help="Data folder, checkpoint, or exported folder."),
    sampling: str = typer.Option("alpha", help="Sampling scheme of a data folder's preview: alpha or glot500."),
    alpha: float = typer.Option(0.3, min=0, callback=finite, help="Languages are sampled by p ~ count ** alpha."),
    scale: float = typer.Option(30.0, callback=finite, help="For glot500: repeats of the smallest language per epoch."),
    counts: str = typer.Option("blocks", help="Unit of the sampling's counts: blocks or lines."),
    tokens_per_sample: int = typer.Option(512, min=2, help="Length of a block, including <s>."),
) -> None:
    """Describe a data folder, checkpoint or exported folder.

    Also checks that it is complete and undamaged.

    Example: langsamp info runs/data-bin --sampling glot500
    """
    from langsamp_plugin.info import Sampling, describe

    if counts not in ("blocks", "lines"):
        raise ValueError(f"--counts must be blocks or lines, but is {counts!r}")
    print("\n".join(describe(path, Sampling(sampling, alpha, scale, counts, tokens_per_sample))))


@app.command()
def doctor() -> None:
    """Show what is installed or missing, and how to install it.

    The exit status is 1 if training cannot run here.

    Example: langsamp doctor
    """
    from langsamp_plugin.doctor import examine

    results = []
    for result in examine():
        print(result, flush=True)
        results.append(result)
    if any(result.state == "missing" for result in results):
        raise typer.Exit(1)


@app.command("user-dir")
def user_dir() -> None:
    """Print the path for fairseq's --user-dir.

    Example: fairseq-train DATA-BIN --user-dir $(langsamp user-dir) --task langsamp_masked_lm ...
    """
    print(Path(__file__).resolve().parent.parent)
