"""Checkpoints and folders that a conversion cannot reproduce are refused; rows follow the dictionary in any order."""

import json
import shutil
from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file, save_file

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.vocabulary import DIGEST
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.convert.source_folder import find_folder
from langsamp_plugin.info import describe
from langsamp_plugin.vocabulary.dictionary import dictionary_digest, read_dictionary
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

WORDS = "roberta.embeddings.word_embeddings.weight"


def changed(trained, path, change):
    """Save a checkpoint whose state was changed."""
    state = load_checkpoint(trained)
    change(state)
    torch.save(state, path)
    return path


def options(state):
    model = state["cfg"]["model"]
    return model if isinstance(model, dict) else vars(model)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation_fn", "relu", "--activation-fn must be gelu .* trained with relu"),
        ("no_scale_embedding", False, "--no-scale-embedding must be True"),
        ("no_token_positional_embeddings", True, "--no-token-positional-embeddings must be False"),
        ("encoder_learned_pos", False, "--encoder-learned-pos must be True"),
        ("encoder_layers_to_keep", "0", "--encoder-layers-to-keep must be None"),
        ("embed_tags_at", "input", "tables at the input"),
    ],
)
def test_options_that_change_the_function_are_refused_without_verification(
    trained, demo, tmp_path, name, value, message
):
    checkpoint = changed(trained, tmp_path / "x.pt", lambda state: options(state).update({name: value}))
    with pytest.raises(ValueError, match=message):
        export(checkpoint, tmp_path / "hf", spm=demo / "spm.model")
    assert not (tmp_path / "hf").exists()


def test_epsilon_goes_out(trained, demo, tmp_path):
    checkpoint = changed(trained, tmp_path / "x.pt", lambda state: options(state).update(layer_norm_eps=1e-3))
    export(checkpoint, tmp_path / "hf", spm=demo / "spm.model")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["layer_norm_eps"] == 1e-3


@pytest.mark.parametrize(
    ("value", "half", "message"),
    [
        (torch.nan, None, "fc1.weight has values that are not finite: training has diverged"),
        (1e6, "float16", "fc1.weight has values that are not finite: too large for float16, use --half bfloat16"),
        (1e6, "bfloat16", None),
    ],
)
def test_values_that_are_not_finite(trained, demo, tmp_path, value, half, message):
    def change(state):
        state["model"]["encoder.sentence_encoder.layers.1.fc1.weight"][0, 0] = value

    checkpoint = changed(trained, tmp_path / "x.pt", change)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        export(checkpoint, tmp_path / "hf", spm=demo / "spm.model", half=half)
    assert (tmp_path / "hf").exists() == (message is None)


def test_a_tag_that_the_model_lacks(trained, tmp_path):
    for tag, found in (("fra_Latn", "'fra' of fra_Latn is not among the 6 languages"), ("deu_Thai", "the 4 scripts")):
        with pytest.raises(ValueError, match=f"{found} of this model .*or und_Zyyy for unknown"):
            export(trained, tmp_path / "hf", fold=[tag])


def test_files_that_are_no_checkpoints(tmp_path):
    for content, message in (
        (b"", "is empty"),
        (b"hello", "is not a complete checkpoint file, or is of another kind$"),
    ):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_checkpoint(tmp_path / "x.pt")


def test_everything_next_to_the_checkpoint(trained, demo, tmp_path):
    """As XLM-R is published; of several data folders any may have the files."""

    def data(*folders):
        def change(state):
            task = state["cfg"]["task"]
            (task if isinstance(task, dict) else vars(task))["data"] = ":".join(map(str, folders))
            del state["task_state"][DIGEST]

        return change

    checkpoint = changed(trained, tmp_path / "x.pt", data(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="neither in its data folder .* nor next to it; name it with --spm"):
        export(checkpoint, tmp_path / "hf")
    for name in ("dict.txt", "sentencepiece.bpe.model"):
        shutil.copy(demo / "data-bin" / name, tmp_path)
    export(checkpoint, tmp_path / "hf")
    (tmp_path / "elsewhere").mkdir()
    checkpoint = changed(trained, tmp_path / "elsewhere" / "x.pt", data(tmp_path / "gone", demo / "data-bin"))
    export(checkpoint, tmp_path / "other")
    for name, what in (("elsewhere", "is a folder: name .*dict.txt"), ("gone", "is missing")):
        with pytest.raises(FileNotFoundError, match=f"--dict must be the dict.txt of .*{what}"):
            export(checkpoint, tmp_path / "again", dictionary=tmp_path / name)


def test_folders_given_for_files_are_named(exported, tmp_path):
    with pytest.raises(
        ValueError, match=r"is a folder, but export takes a checkpoint file.* Hugging Face's format alre"
    ):
        export(exported, tmp_path / "hf")
    with pytest.raises(ValueError, match="must be a file, but is a folder: name the file in it"):
        Tokenizer(exported)


def test_info_names_the_architecture(trained):
    text = "\n".join(describe(trained))
    assert "architecture langsamp_roberta_tiny: 2 layers of width 32 (64 inside), 2 heads" in text
    assert "--embed-tags both at the output" in text


@pytest.fixture
def reordered(trained, demo, tmp_path):
    """A checkpoint whose dictionary is in another order, with two rows that only fill it up."""
    pieces = read_dictionary(demo / "data-bin" / "dict.txt")
    order = [*reversed(range(len(pieces))), 0, 0]
    names = [*reversed(pieces), "madeupword0000", "madeupword0001"]
    rows = torch.tensor([0, 1, 2, 3, *(number + 4 for number in order), len(pieces) + 4])

    def change(state):
        weights = state["model"]
        for name in (EMBEDDING, f"{HEAD}weight", f"{HEAD}bias"):
            weights[name] = weights[name][rows]
        state["task_state"][DIGEST] = dictionary_digest(names)

    (tmp_path / "elsewhere").mkdir()
    dictionary = tmp_path / "elsewhere" / "dict.txt"
    dictionary.write_text("".join(f"{name} 1\n" for name in names), encoding="utf-8")
    return changed(trained, tmp_path / "reordered.pt", change), dictionary


def test_rows_follow_a_dictionary_in_another_order(reordered, exported, demo, tmp_path):
    checkpoint, dictionary = reordered
    # Without the dictionary, the hash in the checkpoint prevents guessing rows.
    with pytest.raises(ValueError, match="was trained with another dictionary .* --dict FILE"):
        export(checkpoint, tmp_path / "hf", spm=demo / "spm.model")
    with pytest.raises(ValueError, match="is not the dictionary that .* was trained with"):
        export(checkpoint, tmp_path / "hf", spm=demo / "spm.model", dictionary=demo / "data-bin" / "dict.txt")
    done = export(checkpoint, tmp_path / "hf", spm=demo / "spm.model", dictionary=dictionary, verify=True)
    assert "2 rows that only pad the dictionary are dropped" in " ".join(done.notes)
    one, other = (load_file(folder / "model.safetensors") for folder in (tmp_path / "hf", exported))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    # Next to the checkpoint it is found.
    shutil.copy(dictionary, tmp_path)
    export(checkpoint, tmp_path / "again", spm=demo / "spm.model")


def test_an_order_that_cannot_be_known_is_asked_for(trained, demo, tmp_path):
    def forget(state):
        del state["task_state"][DIGEST]
        task = state["cfg"]["task"]
        (task if isinstance(task, dict) else vars(task))["data"] = str(tmp_path / "gone")

    checkpoint = changed(trained, tmp_path / "x.pt", forget)
    with pytest.raises(FileNotFoundError, match="does not say in which order .* --dict FILE"):
        export(checkpoint, tmp_path / "hf", spm=demo / "spm.model")
    export(checkpoint, tmp_path / "hf", spm=demo / "spm.model", dictionary=demo / "data-bin" / "dict.txt")


def test_added_tokens_and_padding(exported, demo, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "more")
    tensors = load_file(folder / "model.safetensors")
    rows = len(tensors[WORDS])
    for name in (WORDS, "lm_head.bias", "lm_head.decoder.bias"):
        tensors[name] = torch.cat([tensors[name], torch.ones_like(tensors[name][:6])])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows + 6}))
    done = import_checkpoint(folder, tmp_path / "padded" / "model.pt")
    assert "6 rows after <mask> are dropped: padding" in done.notes
    (folder / "added_tokens.json").write_text(json.dumps({"<url>": rows, "<user>": rows + 1}))
    with pytest.raises(ValueError, match=r"added tokens \(<url> <user>\).*--drop-added-tokens"):
        import_checkpoint(folder, tmp_path / "in" / "model.pt")
    done = import_checkpoint(folder, tmp_path / "in" / "model.pt", drop_added=True)
    assert "6 rows after <mask> are dropped: added tokens (<url> <user>) and padding" in done.notes
    import_checkpoint(exported, tmp_path / "plain" / "model.pt")
    one, other = (load_checkpoint(tmp_path / name / "model.pt")["model"] for name in ("in", "plain"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_name_is_looked_up_in_the_local_cache(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub").constants
    snapshot = tmp_path / "models--some--model" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_folder("some/model") == snapshot
    with pytest.raises(FileNotFoundError, match="other/model is missing.*`hf download other/model` gets it"):
        find_folder("other/model")
    for name in ("/absent/deep/folder", "runs/model.pt", "~/model", "a b"):
        with pytest.raises(FileNotFoundError, match=f"^{name} is missing$"):
            find_folder(name)
