"""Commands for checkpoints and data of Megatron-Core."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import typer

from langsamp_plugin.commands.app import megatron_app, replaces, writes_either
from langsamp_plugin.commands.convert import DICT, OVERWRITE

VERIFY = typer.Option(
    False,
    "--verify",
    help="Encode sentences in 17 languages with both models and compare every layer; needs megatron-core.",
)
SPM = typer.Option(None, help="SentencePiece model; by default the one next to the source.")


@megatron_app.command(name="import")
@replaces("langsamp.json")
def import_(
    source: Path = typer.Argument(..., help="Hugging Face folder, or fairseq checkpoint: LangSAMP, roberta or xlmr."),
    out: Path = typer.Option(..., help="Folder to write, for --load of Megatron."),
    spm: Optional[Path] = SPM,
    dictionary: Optional[Path] = DICT,
    pad_to: int = typer.Option(128, min=1, help="The vocabulary is padded to a multiple of this times the ranks."),
    tensor_parallel: int = typer.Option(
        1, min=1, help="Tensor-parallel ranks to pad for; any number of ranks can load the result."
    ),
    allow_pickle: bool = typer.Option(False, "--allow-pickle", help="Read weights that exist only as a pickle."),
    overwrite: bool = OVERWRITE,
    verify: bool = VERIFY,
) -> None:
    """Write a distributed checkpoint that Megatron-Core starts from.

    Example: langsamp megatron import xlm-roberta-base --out runs/start --verify
    """
    from langsamp_plugin.megatron.import_model import import_to_megatron

    notes, found = import_to_megatron(
        source,
        out,
        spm=spm,
        dictionary=dictionary,
        multiple=pad_to,
        ranks=tensor_parallel,
        allow_pickle=allow_pickle,
        overwrite=overwrite,
        verify=verify,
    )
    if found is not None:
        print(found.format())
    print("\n".join([f"{out}: imported from {source}", *notes]))


@megatron_app.command()
@writes_either("config.json")
def export(
    source: Path = typer.Argument(..., help="Checkpoint folder of Megatron-Core, or the folder of one iteration."),
    out: Path = typer.Option(..., help="File ending in .pt for fairseq, else a Hugging Face folder."),
    spm: Optional[Path] = SPM,
    dictionary: Optional[Path] = DICT,
    record: Optional[Path] = typer.Option(
        None, help="langsamp.json that training started from, if the checkpoint has none."
    ),
    overwrite: bool = OVERWRITE,
    verify: bool = VERIFY,
) -> None:
    """Turn a Megatron-Core checkpoint into fairseq or Hugging Face.

    It may have any number of ranks.

    Example: langsamp megatron export runs/megatron --out runs/hf --verify
    """
    from langsamp_plugin.megatron.export_model import export_from_megatron

    found = export_from_megatron(
        source, out, spm=spm, dictionary=dictionary, record=record, overwrite=overwrite, verify=verify
    )
    if found is not None:
        print(found.format())
    print(f"{out}: exported from {source}")


@megatron_app.command()
@replaces("megatron.txt")
def index(
    data: Path = typer.Argument(..., help="Data folder of `langsamp binarize`; with --check, an indexed folder."),
    out: Optional[Path] = typer.Option(None, help="Folder to write: indexes, and links to the .bin files."),
    check: bool = typer.Option(False, "--check", help="Only check that each index of a folder belongs to its .bin."),
    overwrite: bool = OVERWRITE,
) -> None:
    """Write the indexes that Megatron reads over the same .bin.

    The indexes are those of its IndexedDataset.

    Example: langsamp megatron index runs/data-bin --out runs/data-megatron
    """
    from langsamp_plugin.megatron.index import check_indexed, index_data

    if check:
        print(f"{data}: {check_indexed(data)} indexes belong to their .bin files")
        return
    if out is None:
        raise ValueError("either --out must name a folder to write, or --check must be given")
    found = index_data(data, out, overwrite)
    print(f"{out}: {found.languages} languages, {found.sentences:,} sentences, {found.tokens:,} tokens, nothing copied")
