"""Commands for starting checkpoints and for conversion from and to Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import TABLES, app, replaces, split_list, writes_file

DEFAULT_INIT = "auto"
"""Copy of the constant in convert.vocabulary_rows, which would import torch."""

ALLOW_PICKLE = typer.Option(
    False, "--allow-pickle", help="Read weights that exist only as pytorch_model.bin, still without running code."
)
VERIFY = typer.Option(
    False,
    "--verify",
    help="Encode sentences in 17 languages with both models and compare every layer; fail if they differ.",
)
OVERWRITE = typer.Option(
    False, "--overwrite", help="Replace --out even if it was changed or written by another program."
)
DROP_ADDED = typer.Option(False, "--drop-added-tokens", help="Drop tokens that were added to the folder's vocabulary.")
DICT = typer.Option(
    None, "--dict", help="dict.txt of the checkpoint; by default the one in its data folder, or next to it."
)
TEXT = typer.Option(
    None, help="With --verify: folder of <tag>.txt; every line is tokenized by both tokenizers and compared."
)


@app.command()
@writes_file
def init(
    source: Path = typer.Argument(
        ..., help="Hugging Face folder, name of a cached model, or fairseq checkpoint (LangSAMP, roberta, xlmr)."
    ),
    out: Path = typer.Option(..., help="Checkpoint to write, for --finetune-from-model or --restore-file."),
    spm: Optional[Path] = typer.Option(
        None, help="SentencePiece model to train with; by default the vocabulary does not change."
    ),
    old_spm: Optional[Path] = typer.Option(
        None,
        help="The source's own SentencePiece model; by default the one in the folder, or in the checkpoint's data "
        "folder.",
    ),
    dictionary: Optional[Path] = DICT,
    new_pieces: str = typer.Option(
        DEFAULT_INIT,
        help="How rows of new pieces start: neighbours (mean of old pieces used alike in --corpus), parts (mean of the "
        "old pieces it splits into), mean (of all), random (drawn with their mean and covariance), normal, N(0, 0.02). "
        "auto is neighbours with --corpus, the best of them, else parts.",
    ),
    corpus: Optional[Path] = typer.Option(None, help="Folder of <tag>.txt: neighbours learns from it."),
    tables: str = TABLES,
    new_rows: str = typer.Option("random", help="How rows of new codes start: random, or the mean of the old rows."),
    donors: str = typer.Option(
        "", help="Codes whose new row is a copy of another row: gsw=deu,Copt=Grek. Needs --tables."
    ),
    allow_pickle: bool = ALLOW_PICKLE,
    drop_added: bool = DROP_ADDED,
    overwrite: bool = OVERWRITE,
    verify: bool = VERIFY,
) -> None:
    """Make a starting checkpoint with another vocabulary or tables.

    Existing rows are matched by piece or code; new rows are initialised.

    Example: langsamp init xlm-roberta-base --spm extended.model --out start/model.pt --verify
    """
    from langsamp_plugin.convert.init import NewInventory, NewVocabulary, init_checkpoint

    done = init_checkpoint(
        source,
        out,
        vocabulary=NewVocabulary(spm, old_spm, dictionary, new_pieces, corpus),
        inventory=NewInventory(tables, new_rows, split_list(donors)),
        allow_pickle=allow_pickle,
        drop_added=drop_added,
        overwrite=overwrite,
        verify=verify,
    )
    if done.verification is not None:
        print(done.verification.format())
    change = done.extension
    what = (
        f"{change.kept:,} pieces kept, {change.new:,} new, {change.dropped:,} of the old vocabulary dropped"
        if change is not None
        else "the vocabulary is unchanged"
    )
    if change is not None:
        before, after = change.parameters
        notes = [
            f"parameters: {before:,} before, {after:,} after ({before / 250_000:,.0f} and {after / 250_000:,.0f} MB "
            "in float32)"
        ]
    else:
        notes = []
    print("\n".join([f"{out}: {what}", *notes, *done.notes]))


@app.command("import")
@writes_file
def import_(
    folder: Path = typer.Argument(
        ..., help="Hugging Face folder or name of a cached model: XLM-R, Glot500-m, LangSAMP, or an exported folder."
    ),
    out: Path = typer.Option(
        ..., help="Checkpoint to write; dict.txt and the SentencePiece model are written next to it."
    ),
    spm: Optional[Path] = typer.Option(None, help="SentencePiece model; by default the one in the folder."),
    tables: Optional[Path] = typer.Option(
        None,
        help="Folder with the codes of the rows, for a model in the published layout with another inventory.",
    ),
    allow_pickle: bool = ALLOW_PICKLE,
    drop_added: bool = DROP_ADDED,
    overwrite: bool = OVERWRITE,
    verify: bool = VERIFY,
    text: Optional[Path] = TEXT,
) -> None:
    """Turn a Hugging Face folder into a fairseq checkpoint.

    The checkpoint is for --restore-file or --finetune-from-model of fairseq-train.

    Example: langsamp import xlm-roberta-base --out xlmr/model.pt --verify
    """
    from langsamp_plugin.convert.init import import_checkpoint

    done = import_checkpoint(
        folder,
        out,
        spm=spm,
        tables=tables,
        allow_pickle=allow_pickle,
        drop_added=drop_added,
        overwrite=overwrite,
        verify=verify,
        text=text,
    )
    if done.verification is not None:
        print(done.verification.format())
    print("\n".join([f"{out}: imported from {folder}", *done.notes]))


@app.command()
@replaces("config.json")
def export(
    checkpoint: Path = typer.Argument(..., help="fairseq checkpoint: LangSAMP, roberta or xlmr."),
    out: Path = typer.Option(..., help="Hugging Face folder to write."),
    spm: Optional[Path] = typer.Option(
        None, help="SentencePiece model; by default the one in the checkpoint's data folder."
    ),
    dictionary: Optional[Path] = DICT,
    fold: str = typer.Option(
        "", help="Tag whose embeddings are folded into the masked-LM head; several tags get files in heads/ instead."
    ),
    half: Optional[str] = typer.Option(None, help="Store all weights as float16 or bfloat16."),
    layout: str = typer.Option(
        "stock",
        help="stock, or authors: both tables are weights of the model, as the published model's class reads them.",
    ),
    scores: Optional[Path] = typer.Option(
        None, help="Folder written by `langsamp report`; its table is added to the model card."
    ),
    license_id: str = typer.Option(
        "unknown",
        "--license",
        help="For the model card, an identifier of the hub: mit, apache-2.0, cc-by-4.0, other ...",
    ),
    base_model: Optional[str] = typer.Option(
        None, help="For the model card: the hub's name of the model that training started from."
    ),
    overwrite: bool = OVERWRITE,
    verify: bool = VERIFY,
    text: Optional[Path] = TEXT,
) -> None:
    """Write a Hugging Face folder that loads without this package.

    Example: langsamp export runs/checkpoints/checkpoint_last.pt --out runs/hf --verify
    """
    from langsamp_plugin.convert.card_fields import CardFields
    from langsamp_plugin.convert.export import export as run

    tags = split_list(fold)
    done = run(
        checkpoint,
        out,
        spm=spm,
        dictionary=dictionary,
        fold=tags,
        half=half,
        layout=layout,
        card=CardFields(license_id, base_model, scores),
        overwrite=overwrite,
        verify=verify,
        text=text,
    )
    if done.verification is not None:
        print(done.verification.format())
    said = f"{out}: exported from {checkpoint}" + (f", head folded for {' '.join(tags)}" if tags else "")
    print("\n".join([said, *done.notes]))
