"""Our data folder is, byte for byte, what SentencePiece to text plus fairseq-preprocess makes."""

import pytest
from support import run

from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


@pytest.mark.parametrize("tag", ["deu_Latn", "hin_Deva"])
def test_same_bytes(demo, tmp_path, tag):
    tokenizer = Tokenizer(demo / "spm.model")
    for split in ("train", "valid"):
        lines = read_lines(demo / "corpus" / split / f"{tag}.txt")
        pieces = [" ".join(tokenizer.processor.encode(line, out_type=str)) for line in lines]
        (tmp_path / split).write_text("\n".join(pieces) + "\n", encoding="utf-8")
    run(
        "fairseq-preprocess", "--only-source", "--srcdict", demo / "data-bin" / "dict.txt", "--dataset-impl", "mmap",
        "--trainpref", tmp_path / "train", "--validpref", tmp_path / "valid", "--destdir", tmp_path / "stock",
        "--workers", 1,
    )  # fmt: skip
    for name in ("train.bin", "train.idx", "valid.bin", "valid.idx"):
        assert (tmp_path / "stock" / name).read_bytes() == (demo / "data-bin" / tag / name).read_bytes(), name
