"""Starting checkpoints, and Hugging Face folders both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import TABLES, app, split_list

ALLOW_PICKLE = typer.Option(
    False, "--allow-pickle", help="Read weights that are only there as pytorch_model.bin, still without running code."
)
VERIFY = typer.Option(
    False,
    "--verify",
    help="Put sentences in 17 languages through both sides and compare every layer; fail if they differ.",
)
TEXT = typer.Option(None, help="With --verify: a folder of <tag>.txt whose every line is tokenized on both sides.")


@app.command()
def init(
    source: Path = typer.Argument(
        ..., help="Hugging Face folder, or checkpoint of fairseq: LangSAMP, roberta or xlmr."
    ),
    out: Path = typer.Option(..., help="Checkpoint to write, for --finetune-from-model or --restore-file."),
    spm: Optional[Path] = typer.Option(
        None, help="SentencePiece model to train with; by default the vocabulary stays."
    ),
    old_spm: Optional[Path] = typer.Option(
        None,
        help="The source's own SentencePiece model; by default the one in the folder, or in the checkpoint's data folder.",
    ),
    new_pieces: str = typer.Option(
        "parts", help="How rows of new pieces start: parts (mean of the old pieces it splits into), mean, random."
    ),
    tables: str = TABLES,
    new_rows: str = typer.Option("random", help="How rows of new codes start: random, or the mean of the old rows."),
    donors: str = typer.Option("", help="Codes whose new row copies another's: gsw=deu,Copt=Grek. Needs --tables."),
    allow_pickle: bool = ALLOW_PICKLE,
    verify: bool = VERIFY,
) -> None:
    """Make a starting checkpoint with another vocabulary or tables.

    Old rows are kept by piece or code, <mask> moves with its meaning, new rows are made.

    Example: langsamp init xlm-roberta-base --spm extended.model --out start/model.pt --verify
    """
    from langsamp_plugin.convert.init import init_checkpoint

    done = init_checkpoint(
        source,
        out,
        spm=spm,
        old_spm=old_spm,
        new_pieces=new_pieces,
        tables=tables,
        new_rows=new_rows,
        donors=split_list(donors),
        allow_pickle=allow_pickle,
        verify=verify,
    )
    if done.verification is not None:
        print(done.verification.format())
    change = done.extension
    what = (
        f"{change.kept:,} pieces kept, {change.new:,} new, {change.dropped:,} of the old vocabulary dropped"
        if change is not None
        else "the vocabulary is the old one"
    )
    print("\n".join([f"{out}: {what}", *done.notes]))


@app.command("import")
def import_(
    folder: Path = typer.Argument(..., help="Hugging Face folder: XLM-R, Glot500-m, or an exported one."),
    out: Path = typer.Option(..., help="Checkpoint to write; dict.txt and the SentencePiece model go beside it."),
    spm: Optional[Path] = typer.Option(None, help="SentencePiece model; by default the one in the folder."),
    allow_pickle: bool = ALLOW_PICKLE,
    verify: bool = VERIFY,
    text: Optional[Path] = TEXT,
) -> None:
    """Turn a Hugging Face folder into a fairseq checkpoint.

    The checkpoint is for --restore-file or --finetune-from-model of fairseq-train.

    Example: langsamp import xlm-roberta-base --out xlmr/model.pt --verify
    """
    from langsamp_plugin.convert.init import import_checkpoint

    done = import_checkpoint(folder, out, spm=spm, allow_pickle=allow_pickle, verify=verify, text=text)
    if done.verification is not None:
        print(done.verification.format())
    print("\n".join([f"{out}: imported from {folder}", *done.notes]))


@app.command()
def export(
    checkpoint: Path = typer.Argument(..., help="Checkpoint of fairseq: LangSAMP, roberta or xlmr."),
    out: Path = typer.Option(..., help="Hugging Face folder to write."),
    spm: Optional[Path] = typer.Option(
        None, help="SentencePiece model; by default the one in the checkpoint's data folder."
    ),
    fold: str = typer.Option(
        "", help="Tag whose embeddings are folded into the masked-LM head; of several, each gets a file in heads/."
    ),
    half: Optional[str] = typer.Option(None, help="Store all weights as float16 or bfloat16."),
    verify: bool = VERIFY,
    text: Optional[Path] = TEXT,
) -> None:
    """Write a Hugging Face folder that loads without this package.

    Example: langsamp export runs/checkpoints/checkpoint_last.pt --out runs/hf --verify
    """
    from langsamp_plugin.convert.export import export as run

    tags = split_list(fold)
    found = run(checkpoint, out, spm=spm, fold=tags, half=half, verify=verify, text=text)
    if found is not None:
        print(found.format())
    print(f"{out}: exported from {checkpoint}" + (f", head folded for {' '.join(tags)}" if tags else ""))
