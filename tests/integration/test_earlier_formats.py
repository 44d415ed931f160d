"""A data folder and a checkpoint as earlier code wrote them: today's code reads and continues them.

``fixtures/earlier_formats`` was made by ``langsamp binarize --tables data --valid-lines 6`` of sentences that a program
composed, and 3 updates of fairseq-train with the options below.
"""

import re
import shutil
from pathlib import Path

import pytest
import torch
from support import run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.export import export
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.modules.tag_embedding import decode_codes
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

FOLDER = Path(__file__).parents[1] / "fixtures" / "earlier_formats"
SHAPE = (
    "--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 32, "--max-positions", 34, "--batch-size", 4, "--lr", 1e-3,
)  # fmt: skip
WORDS = {
    "eng_Latn": r"(The|A) \w+ \w+ \w+ (near|behind|under) the \w+\.",
    "deu_Latn": r"\w+ \w+ \w+ \w+ (am|(hinter|vor) dem) \w+\.",
    "rus_Cyrl": r"\w+ \w+ \w+ (у|за|под) \w+\.",
}


@pytest.fixture
def earlier(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "earlier")


def test_its_data_are_read(earlier):
    data = earlier / "data-bin"
    tokenizer = Tokenizer(data / "sentencepiece.bpe.model")
    for tag, form in WORDS.items():
        buffer = TokenBuffer(data / tag / "train")
        ids = buffer.read(0, buffer.num_tokens).astype(int).tolist()
        lines = tokenizer.processor.decode([id - 1 for id in ids if id != 2])
        assert buffer.num_sentences == 84 and len(re.findall(form, lines)) == 84, tag
    assert "3 language-scripts; every index and buffer is complete" in run("langsamp", "info", data)


def test_a_language_is_added_to_its_data(earlier):
    before = {path: path.read_bytes() for path in (earlier / "data-bin").glob("???_????/*.bin")}
    (earlier / "more").mkdir()
    (earlier / "more" / "nld_Latn.txt").write_text("".join(f"Een boot wacht op dag {day}.\n" for day in range(40)))
    run("langsamp", "binarize", earlier / "more", "--spm", earlier / "data-bin" / "sentencepiece.bpe.model", "--out",
        earlier / "data-bin")  # fmt: skip
    assert (earlier / "data-bin" / "languages.tsv").read_text() == "deu\neng\nrus\nnld\n"
    assert all(path.read_bytes() == content for path, content in before.items()) and before


def test_its_run_is_continued(earlier):
    start = load_checkpoint(earlier / "checkpoint_last.pt")
    log = run(*train_command(earlier / "data-bin", earlier, 6, *SHAPE))
    assert "@ 3 updates" in log
    state = load_checkpoint(earlier / "checkpoint_last.pt")
    assert (
        state["extra_state"]["train_iterator"]["consumed"] == 24
    )  # 6 updates of 4 blocks, the first 12 blocks its own
    assert state["model"].keys() == start["model"].keys()
    for name, old in start["model"].items():
        new = state["model"][name]
        assert torch.equal(old, new) if not old.is_floating_point() else 0 <= (old - new).abs().max() < 0.01, name
    assert [*decode_codes(state["model"]["encoder.lang_embedding.codes"])] == ["deu", "eng", "rus"]
    steps = {int(moments["step"]) for moments in state["last_optimizer_state"]["state"].values()}
    assert steps == {6}, "its moments were taken over"


def test_its_checkpoint_is_exported(earlier):
    data = earlier / "data-bin"
    export(
        earlier / "checkpoint_last.pt",
        earlier / "hf",
        spm=data / "sentencepiece.bpe.model",
        dictionary=data / "dict.txt",
    )
    assert (earlier / "hf" / "langsamp.safetensors").is_file()
