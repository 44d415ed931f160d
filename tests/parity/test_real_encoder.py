"""Conversions of real weights: in, out, in again; a longer vocabulary; training from it; stock classes on the
result."""

import re
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import save_file
from support import run, run_elsewhere, train_command
from transformers import XLMRobertaConfig, XLMRobertaModel

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.convert.verification import encode_sentences
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def imported(udhr_encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "model.pt"
    return out, run("langsamp", "import", udhr_encoder, "--out", out, "--verify")


@pytest.fixture(scope="module")
def exported(imported, udhr, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "hf"
    return out, run("langsamp", "export", imported[0], "--out", out, "--verify", "--text", udhr)


def differences(output):
    """Read the table that --verify prints."""
    rows = re.findall(r"^(.+?) +(\d\.\de[+-]\d\d)  +\d", output, re.MULTILINE)
    return {what: float(value) for what, value in rows}


def test_import_and_export_compute_the_same(imported, exported):
    for _, output in (imported, exported):
        found = differences(output)
        assert {"embedding", *(f"block {number}" for number in range(1, 13))} <= found.keys()
        assert max(value for what, value in found.items() if "token" not in what) < 1e-5
    assert differences(exported[1])["logits"] < 1e-5


def test_tokens_of_every_language(exported, udhr):
    """Both tokenizers agree on all lines but the score ties in Kalaallisut and two combining sequences."""
    tags = len(list(udhr.glob("*.txt")))
    assert tags == 461
    wrong = dict(re.findall(r"token ids, (\w+_\w+) .* (\d+) of \d+ lines", exported[1]))
    assert set(wrong) <= {"kal_Latn", "ben_Beng", "evn_Cyrl"} and sum(map(int, wrong.values())) <= 7
    assert re.search(r"token ids, all tags .* \d+ of 30,7\d\d lines", exported[1])


def test_there_and_back_is_bitwise(imported, exported, tmp_path):
    run("langsamp", "import", exported[0], "--out", tmp_path / "model.pt")
    one, other = (load_checkpoint(path)["model"] for path in (imported[0], tmp_path / "model.pt"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_memory_of_an_export(udhr_encoder, tmp_path):
    """At most three times the checkpoint's size, though Python with torch and transformers is over half a gigabyte.

    The model has the size of the published encoder with all of its pieces, most of it in the embedding, too.
    """
    folder = shutil.copytree(udhr_encoder, tmp_path / "wide", ignore=shutil.ignore_patterns("*.safetensors"))
    config = XLMRobertaConfig.from_pretrained(
        folder, hidden_size=1344, intermediate_size=1344, num_hidden_layers=1, num_attention_heads=12
    )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in XLMRobertaModel(config).state_dict().items()}
    config.save_pretrained(folder)
    save_file({name: torch.full(shape, 0.01) for name, shape in shapes.items()}, folder / "model.safetensors")
    checkpoint = tmp_path / "model.pt"
    import_checkpoint(folder, checkpoint)
    assert checkpoint.stat().st_size > 460e6
    code = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
    output = run(sys.executable, "-c", code, "langsamp", "export", checkpoint, "--out", tmp_path / "hf")
    assert int(output.split("peak ")[1]) <= 3 * checkpoint.stat().st_size


def test_stock_classes_load_it(exported, tmp_path):
    """In a process that can import neither fairseq nor this package."""
    code = f"""
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, pipeline
folder = {str(exported[0])!r}
model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
AutoModelForMaskedLM.from_pretrained(folder)
print(len(pipeline("fill-mask", model=folder)("Das ist <mask>.")))
"""
    assert run_elsewhere(code, tmp_path) == ["5"]


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="needs the package sentence-transformers")
def test_sentence_transformers_loads_it(exported, udhr_encoder, tmp_path):
    """In such a process, too; its vectors are those of the published encoder."""
    code = f"""
from sentence_transformers import SentenceTransformer
folder, published = {str(exported[0])!r}, {str(udhr_encoder)!r}
texts = ["query: Wie wird das Wetter?", "query: What will the weather be?", "query: Ich habe Hunger."]
one, other = (SentenceTransformer(path).encode(texts, normalize_embeddings=True) for path in (folder, published))
print((one * other).sum(1).min() > 0.99999, one[0] @ one[1] > one[0] @ one[2])
"""
    assert run_elsewhere(code, tmp_path) == ["True", "True"]


def test_a_longer_vocabulary(udhr_encoder, imported, demo, udhr, tmp_path):
    """Old pieces keep ids and features, new ones are used, and training continues."""
    model = udhr_encoder / "sentencepiece.bpe.model"
    few = ("--vocab-size", 3000, "--langs", "ady_Cyrl,amh_Ethi,cat_Latn,div_Thaa,hin_Deva,kan_Knda")
    run("langsamp", "tokenizer", "extend", model, udhr, *few, "--out", tmp_path / "new.model")
    output = run(
        "langsamp",
        "init",
        udhr_encoder,
        "--spm",
        tmp_path / "new.model",
        "--out",
        tmp_path / "start" / "model.pt",
        "--verify",
    )
    assert max(differences(output).values()) < 1e-6
    flags = re.search(r"train with (--.+)", output)[1].split()
    old, new = Tokenizer(model), Tokenizer(tmp_path / "new.model")
    assert new.pieces[: len(old.pieces)] == old.pieces and len(new.pieces) > len(old.pieces) + 1000
    one, other = (
        build_model(load_checkpoint(path), tokenizer)
        for path, tokenizer in ((imported[0], old), (tmp_path / "start" / "model.pt", new))
    )
    tokens = encode_sentences(old)
    moved = torch.where(tokens == old.vocab_size - 1, new.vocab_size - 1, tokens)  # <mask> alone has another id
    with torch.no_grad():
        before, after = (model(ids, features_only=True)[0] for model, ids in ((one, tokens), (other, moved)))
        assert (before - after).abs().max() < 1e-6
        # Control: with the mask's old id, which is now the first new piece, features change.
        assert (other(tokens, features_only=True)[0] - before).abs().max() > 1e-2
    del one, other
    data = tmp_path / "data"
    binarize(demo / "corpus" / "train", tmp_path / "new.model", data, langs=["deu_Latn", "hin_Deva"])
    command = train_command(
        data, tmp_path / "save", 2, "--restore-file", tmp_path / "start" / "model.pt", *flags, "--batch-size", 4
    )
    log = run(*command)
    assert "num_updates 2" in log and "loaded checkpoint" in log.lower()
