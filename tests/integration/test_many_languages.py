"""A folder of hundreds of real language-scripts trains and validates in one pass each."""

import csv
import re
import tarfile

from support import run, train_command

from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

LINES = 24
"""Per language: SentencePiece takes longer than all else here, and five of them are held out."""


def test_udhr(shared, tmp_path):
    """461 language-scripts of the UDHR with the published inventory, extended by the codes that it lacks."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    with tarfile.open(shared / "data" / "udhr" / "udhr.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".txt"):
                text = archive.extractfile(member).read().decode()
                lines = [line.split("\t", 1)[1] for line in text.splitlines()[:LINES]]
                (corpus / member.name.rpartition("/")[2]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    tags = sorted(path.stem for path in corpus.glob("*.txt"))
    assert len(tags) > 450
    train_tokenizer(corpus, tmp_path / "spm.model", 8000, coverage=0.999)
    rows = binarize(corpus, tmp_path / "spm.model", tmp_path / "data", valid_lines=5, workers=2, tables="glot500")
    tables = Tables.load(tmp_path / "data")
    assert tables.languages[:610] == Tables.glot500().languages.codes and len(tables.languages) > 610
    log = run(*train_command(tmp_path / "data", tmp_path / "save", 4, "--batch-size-valid", 64))
    assert log.count('begin validation on "valid" subset') == 1
    assert re.search(r"461 languages, [\d,]+ sentences", log)
    with open(tmp_path / "save" / "validation" / "4.tsv") as stream:
        validated = {row["name"] for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "tag"}
    held_out = {row["tag"] for row in rows if row["split"] == "valid"}
    # A language of a few short lines can have nothing masked in its held-out ones.
    assert validated <= held_out and len(validated) > 0.95 * len(held_out) > 400
    without = set(tags) - held_out
    assert all(tag in log for tag in without) and (
        not without or f"{len(without)} languages without a valid split" in log
    )
    assert {LangScript.parse(tag).script for tag in tags} <= set(tables.scripts)
