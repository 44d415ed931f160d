"""Checkpoints of fairseq and Hugging Face to Megatron-Core and back: bit for bit, and without running what they
carry."""

import json
import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import assert_same_weights, run

pytest.importorskip("megatron.core", reason="needs the extra megatron")

from megatron_jobs import save_in_slices
from megatron_ranks import run_program, run_ranks

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.options import architecture
from langsamp_plugin.checkpoint.vocabulary import checkpoint_tokenizer
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.evaluation.encoding import load_encoder, mean_pooled
from langsamp_plugin.evaluation.reading.aligned import read_aligned
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.megatron.export_model import export_from_megatron
from langsamp_plugin.megatron.import_model import import_to_megatron
from langsamp_plugin.megatron.layout import from_stored
from langsamp_plugin.megatron.record import read_record
from langsamp_plugin.megatron.stored import open_stored
from langsamp_plugin.megatron.weights import join_heads, split_heads, to_fairseq, to_megatron
from langsamp_plugin.vocabulary.dictionary import dictionary_digest


@pytest.fixture(scope="module")
def imported(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "start"
    import_to_megatron(trained, out)
    return out


@pytest.fixture
def copy(imported, tmp_path):
    return shutil.copytree(imported, tmp_path / "copy")


def test_fairseq_to_megatron_and_back_is_bitwise(trained, tmp_path):
    text = run_program(
        "langsamp", "megatron", "import", trained, "--out", tmp_path / "start", "--pad-to", 64, "--verify"
    )
    assert "block 2" in text and "logits for deu_Latn" in text and "DIFFERENT" not in text
    rows = len(load_checkpoint(trained)["model"]["encoder.sentence_encoder.embed_tokens.weight"])
    stored = open_stored(tmp_path / "start")
    padded = stored.tensors["embedding.word_embeddings.weight"].size[0]
    assert padded % 64 == 0 and rows <= padded < rows + 64
    run_program("langsamp", "megatron", "export", tmp_path / "start", "--out", tmp_path / "back.pt")
    assert_same_weights(trained, tmp_path / "back.pt")
    before, after = (load_checkpoint(path)["task_state"] for path in (trained, tmp_path / "back.pt"))
    assert before == {**before, **after}, "the inventories and the tags"


def test_two_slices_become_one_again(trained, imported, tmp_path):
    """Two tensor-parallel ranks load, each its slice, and save; the parts are joined bit for bit."""
    run_ranks(2, save_in_slices, str(imported), str(tmp_path / "two" / "iter_0000005"), tensor_parallel=2)
    assert len(list((tmp_path / "two" / "iter_0000005").glob("*.distcp"))) > 1
    stored = open_stored(tmp_path / "two" / "iter_0000005")
    assert len(stored.tensors["embedding.word_embeddings.weight"].chunks) == 2
    export_from_megatron(
        tmp_path / "two" / "iter_0000005", tmp_path / "back.pt", record=imported / "langsamp.json",
        spm=imported / "sentencepiece.bpe.model",
    )  # fmt: skip
    assert_same_weights(trained, tmp_path / "back.pt")
    lost = sorted((tmp_path / "two" / "iter_0000005").glob("__1_*.distcp"))[0]
    lost.unlink()
    with pytest.raises(ValueError, match=f"{lost.name}.*which is not in the folder"):
        export_from_megatron(
            tmp_path / "two" / "iter_0000005", tmp_path / "again.pt", record=imported / "langsamp.json",
            spm=imported / "sentencepiece.bpe.model",
        )  # fmt: skip


@pytest.fixture(scope="module")
def with_token_type(exported, tmp_path_factory):
    """A folder whose token-type row is not zero, as published encoders have it."""
    out = tmp_path_factory.mktemp("source") / "source"
    shutil.copytree(exported, out)
    tensors = load_file(out / "model.safetensors")
    row = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    tensors["roberta.embeddings.token_type_embeddings.weight"] = row
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_hugging_face_to_megatron_and_back_is_bitwise(exported, tmp_path):
    import_to_megatron(exported, tmp_path / "start")
    found = export_from_megatron(tmp_path / "start", tmp_path / "hf", verify=True)
    for name in ("model.safetensors", "langsamp.safetensors"):
        before, after = (load_file(folder / name) for folder in (exported, tmp_path / "hf"))
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert any(row.what == "token ids" for row in found.rows), "Hugging Face's side was compared, too"
    config, again = (json.loads((folder / "config.json").read_text()) for folder in (exported, tmp_path / "hf"))
    assert config == again
    for name in ("languages.tsv", "scripts.tsv", "sentencepiece.bpe.model"):
        assert (exported / name).read_bytes() == (tmp_path / "hf" / name).read_bytes()


def retrieval(folder, eval_data, out):
    """Scores of both layers, in both directions, and vectors of English sentences."""
    (result,) = evaluate(folder, eval_data, out, ["sr_bible"], langs=["deu_Latn", "hin_Deva"], layers=[2])
    model, tokenizer = load_encoder(folder)
    texts = list(read_aligned(eval_data / "sr_bible" / "eng_Latn.txt")[0].values())[:20]
    return result.by_layer, mean_pooled(texts, model, tokenizer, [0, 1, 2])[0]


@pytest.fixture(scope="module")
def sources(exported, with_token_type, eval_data, tmp_path_factory):
    """Folders without and with a token type, and what they retrieve."""
    folder = tmp_path_factory.mktemp("retrieval")
    return [(source, retrieval(source, eval_data, folder / source.name)) for source in (exported, with_token_type)]


@pytest.mark.parametrize("token_type", [False, True])
def test_the_exported_model_evaluates_the_same(sources, eval_data, tmp_path, token_type):
    source, (scores, vectors) = sources[token_type]
    import_to_megatron(source, tmp_path / "start")
    export_from_megatron(tmp_path / "start", tmp_path / "hf")
    again, other = retrieval(tmp_path / "hf", eval_data, tmp_path / "after")
    assert scores == again and all(np.array_equal(one, two) for one, two in zip(vectors, other))
    # The control: without the token-type row, or with one, it is another model.
    assert not np.array_equal(sources[not token_type][1][1][2], vectors[2])


def test_rows_keep_the_order_of_their_dictionary(trained, tmp_path):
    """As data of fairseq-preprocess have it: the dictionary is in another order than the SentencePiece model."""
    state = load_checkpoint(trained)
    data = tmp_path / "data"
    data.mkdir()
    tokenizer = checkpoint_tokenizer(state, trained)
    shutil.copyfile(tokenizer.path, data / "sentencepiece.bpe.model")
    pieces = tokenizer.pieces[::-1]
    (data / "dict.txt").write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")
    state["args"], state["cfg"] = Namespace(**{**architecture(state), "data": str(data)}), None
    state["task_state"]["dictionary"] = dictionary_digest(pieces)
    torch.save(state, tmp_path / "other.pt")
    import_to_megatron(tmp_path / "other.pt", tmp_path / "start", verify=True)
    assert (tmp_path / "start" / "dict.txt").read_bytes() == (data / "dict.txt").read_bytes()
    export_from_megatron(tmp_path / "start", tmp_path / "back.pt", verify=True)
    assert_same_weights(tmp_path / "other.pt", tmp_path / "back.pt")
    export_from_megatron(tmp_path / "start", tmp_path / "hf")
    export(tmp_path / "other.pt", tmp_path / "direct")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "direct"))
    assert all(torch.equal(one[key], two[key]) for key in two)
    # Without its dictionary the checkpoint knows that the SentencePiece model's order is not its own.
    (tmp_path / "start" / "dict.txt").unlink()
    with pytest.raises(ValueError, match="was trained with another dictionary"):
        export_from_megatron(tmp_path / "start", tmp_path / "lost.pt")


def test_a_token_type_row_comes_back_as_it_was(with_token_type, tmp_path):
    notes, _ = import_to_megatron(with_token_type, tmp_path / "start", verify=True)
    assert any("kept as a token type" in note for note in notes)
    export_from_megatron(tmp_path / "start", tmp_path / "hf")
    before, after = (load_file(folder / "model.safetensors") for folder in (with_token_type, tmp_path / "hf"))
    assert all(torch.equal(before[key], after[key]) for key in before)
    # fairseq has no place for it: there it is in the positions, as an import from Hugging Face puts it.
    export_from_megatron(tmp_path / "start", tmp_path / "fairseq.pt", verify=True)
    import_checkpoint(with_token_type, tmp_path / "direct" / "model.pt")
    assert_same_weights(tmp_path / "direct" / "model.pt", tmp_path / "fairseq.pt")


def test_a_published_encoder_comes_back_bit_for_bit(small_encoder, tmp_path):
    import_to_megatron(small_encoder, tmp_path / "start")
    export_from_megatron(tmp_path / "start", tmp_path / "hf")
    before, after = (load_file(folder / "model.safetensors") for folder in (small_encoder, tmp_path / "hf"))
    assert all(torch.equal(tensor, after[f"roberta.{name}"]) for name, tensor in before.items())
    texts = ["Where is the library?", "Wo ist die Bibliothek?", "पुस्तकालय कहाँ है?"]
    one, two = (mean_pooled(texts, *load_encoder(folder), [8, 12])[0] for folder in (small_encoder, tmp_path / "hf"))
    assert all(np.array_equal(*pair) for pair in zip(one, two)), "it evaluates the same"


def test_a_comparison_that_fails_writes_nothing(trained, tmp_path, monkeypatch):
    """The control: heads that are joined in another order load, and compute something else."""
    monkeypatch.setattr(
        "langsamp_plugin.megatron.weights.join_heads", lambda parts, heads: join_heads(parts[::-1], heads)
    )
    with pytest.raises(VerificationError, match="block 1"):
        import_to_megatron(trained, tmp_path / "start", verify=True)
    assert not (tmp_path / "start").exists()


def test_heads_are_joined_and_split():
    parts = [torch.arange(24).view(12, 2) + 100 * number for number in range(3)]
    joined = join_heads(parts, 3)
    assert joined[:12, 0].tolist() == [0, 2, 4, 6, 100, 102, 104, 106, 200, 202, 204, 206]
    assert all(torch.equal(one, other) for one, other in zip(parts, split_heads(joined, 3)))


def test_weights_that_are_missing_or_extra_are_named(trained, imported):
    record = read_record(imported / "release")
    weights = load_checkpoint(trained)["model"]
    gone = weights.pop("encoder.sentence_encoder.layers.1.fc2.bias")
    with pytest.raises(ValueError, match=r"1 are missing \(encoder.sentence_encoder.layers.1.fc2.bias\) and 1 have no"):
        to_megatron({**weights, "encoder.surplus": gone}, record.sizes, 4096)
    theirs = from_stored(open_stored(imported), record.sizes)
    del theirs["lm_head.dense.bias"]
    with pytest.raises(ValueError, match=r"1 are missing \(lm_head.dense.bias\) and 0 have no counterpart"):
        to_fairseq(theirs, record.sizes)


# What a folder can carry. Each must end in one line, and none may run.


def test_without_megatron_core_all_but_the_comparison_works(trained, tmp_path):
    """In a process that cannot import it."""
    code = """
import shlex, sys
assert not any(name.split(".")[0] == "megatron" for name in sys.modules)
class Refuse:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "megatron":
            raise ModuleNotFoundError(f"No module named {name!r}", name="megatron")
sys.meta_path.insert(0, Refuse())
from langsamp_plugin.cli import main
for command in sys.argv[1:]:
    sys.argv = ["langsamp", "megatron", *shlex.split(command)]
    try:
        main()
    except SystemExit as end:
        print(sys.argv[2], "ended with", end.code or 0)
"""
    start, back, other = tmp_path / "start", tmp_path / "back.pt", tmp_path / "other"
    text = run(
        "python", "-c", code, f"import {trained} --out {start}", f"export {start} --out {back}",
        f"import {trained} --out {other} --verify", f"export {start} --out {other} --verify",
    )  # fmt: skip
    assert "imported from" in text and text.count("import ended with 1") == text.count("export ended with 1") == 1
    assert_same_weights(trained, back)
    assert text.count("pip install 'langsamp-plugin[megatron]'") == 2 and "Traceback" not in text
    assert not other.exists()
