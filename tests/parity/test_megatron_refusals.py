"""Spoiled checkpoints of Megatron-Core: each is refused, and nothing that they carry is run."""

import io
import json
import pickle
import shutil

import pytest
import torch
from megatron_ranks import run_program
from support import Evil
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

from langsamp_plugin.megatron.export_model import export_from_megatron
from langsamp_plugin.megatron.import_model import import_to_megatron
from langsamp_plugin.megatron.record import Record
from langsamp_plugin.megatron.stored import check_stored, open_stored


@pytest.fixture(scope="module")
def imported(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "start"
    import_to_megatron(trained, out)
    return out


@pytest.fixture
def copy(imported, tmp_path):
    return shutil.copytree(imported, tmp_path / "copy")


def evil_metadata(folder):
    (folder / "release" / ".metadata").write_bytes(pickle.dumps(Evil()))


def evil_common(folder):
    torch.save({"langsamp": Evil()}, folder / "release" / "common.pt")


def evil_state(folder):
    """The extra state of a module, which Megatron would unpickle."""
    stored = open_stored(folder)
    info = next(info for index, info in stored.places.items() if "_extra_state" in index.fqn)
    data = io.BytesIO()
    torch.save(Evil(), data)
    path = folder / "release" / info.relative_path
    content = path.read_bytes()
    padding = b"\0" * (info.length - len(data.getvalue()))
    assert len(data.getvalue()) <= info.length, (len(data.getvalue()), info.length)
    path.write_bytes(
        content[: info.offset] + data.getvalue()[: info.length] + padding + content[info.offset + info.length :]
    )


def evil_place(folder):
    """A name that leads out of the folder."""
    path = folder / "release" / ".metadata"
    name = next((folder / "release").glob("*.distcp")).name
    path.write_bytes(path.read_bytes().replace(name.encode(), f"../{name}"[: len(name)].encode()))


def cut_metadata(folder):
    path = folder / "release" / ".metadata"
    path.write_bytes(path.read_bytes()[:200])


def cut_tensors(folder):
    path = next((folder / "release").glob("*.distcp"))
    path.write_bytes(path.read_bytes()[:-100])


def flipped_tensors(folder):
    stored = open_stored(folder)
    info = next(info for index, info in stored.places.items() if index.fqn == "lm_head.dense.weight")
    path = folder / "release" / info.relative_path
    content = bytearray(path.read_bytes())
    content[info.offset + info.length // 2] ^= 1
    path.write_bytes(content)


def other_form(folder):
    (folder / "release" / "metadata.json").write_text(json.dumps({"sharded_backend": "zarr"}))


def older_form(folder):
    (folder / "release" / ".metadata").unlink()
    (folder / "release" / "mp_rank_00").mkdir()


def no_number(folder):
    (folder / "latest_checkpointed_iteration.txt").write_text("../../etc")


def no_record(folder):
    (folder / "langsamp.json").unlink()


def wrong_record(folder):
    about = json.loads((folder / "langsamp.json").read_text())
    about["sizes"]["layers"] = 3
    (folder / "langsamp.json").write_text(json.dumps(about))


def wrong_layers(folder):
    """As where the checkpoint does not say itself how the model is built: Megatron-LM's do not."""
    (folder / "release" / "common.pt").unlink()
    wrong_record(folder)


def wrong_positions(folder):
    (folder / "release" / "common.pt").unlink()
    about = json.loads((folder / "langsamp.json").read_text())
    about["sizes"]["positions"] -= 2
    (folder / "langsamp.json").write_text(json.dumps(about))


def described(change):
    """Change the descriptions of a checkpoint's tensors."""

    def spoil(folder):
        path = folder / "release" / ".metadata"
        metadata = pickle.loads(path.read_bytes())
        change(metadata.state_dict_metadata, metadata.storage_data)
        path.write_bytes(pickle.dumps(metadata))

    return spoil


HEAD = "lm_head.dense.weight"


no_words = described(
    lambda tensors, places: tensors.update({"embedding.word_embeddings.weight": BytesStorageMetadata()})
)


huge_tensor = described(lambda tensors, places: setattr(tensors[HEAD], "size", torch.Size([10**6, 10**6])))


negative_size = described(lambda tensors, places: setattr(tensors[HEAD], "size", torch.Size([-1, 32])))


no_parts = described(lambda tensors, places: setattr(tensors[HEAD], "chunks", None))


a_part_elsewhere = described(lambda tensors, places: setattr(tensors[HEAD].chunks[0], "offsets", torch.Size([1, 0])))


a_place_too_many = described(
    lambda tensors, places: places.update({MetadataIndex("stranger"): next(iter(places.values()))})
)


def no_metadata(folder):
    (folder / "release" / ".metadata").write_bytes(pickle.dumps({"state_dict_metadata": {}}))


def heads_that_do_not_divide(folder):
    about = json.loads((folder / "langsamp.json").read_text())
    about["sizes"]["heads"] = 5
    (folder / "langsamp.json").write_text(json.dumps(about))


def more_words(folder):
    about = json.loads((folder / "langsamp.json").read_text())
    about["sizes"]["words"] = 10**6
    (folder / "langsamp.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (evil_metadata, "carries objects that could run code, and was not loaded: it refers to builtins.print"),
        (evil_place, "which is not in the folder"),
        (cut_metadata, ".metadata is damaged"),
        (cut_tensors, "was cut off"),
        (flipped_tensors, "is damaged at byte"),
        (other_form, "must have the format torch_dist, but has 'zarr'"),
        (older_form, "is in Megatron's older format with one folder per rank"),
        (no_number, "must hold a number or the word release, but has '../../etc'"),
        (no_record, "langsamp.json is missing, which describes the model"),
        (wrong_record, "langsamp.json must belong to the checkpoint"),
        (wrong_layers, "must have 3 layers"),
        (wrong_positions, "embed_positions.weight must be (512, 32), as langsamp.json says, but is (514, 32)"),
        (heads_that_do_not_divide, "width must be divisible by the 5 heads, but is 32"),
        (more_words, "but has words 1000000 instead of"),
        (no_words, "weights must be those of a LangSampBertModel of 2 layers, but 1 are missing (embedding.word_"),
        (huge_tensor, "is larger than all files together"),
        (negative_size, "lm_head.dense.weight has no size or no dtype"),
        (no_parts, "is damaged"),
        (a_part_elsewhere, "does not match .metadata"),
        (a_place_too_many, "it has a location of 'stranger', but no description"),
        (no_metadata, "is damaged: 'dict' object has no attribute"),
    ],
)
def test_a_spoiled_checkpoint_is_refused(copy, tmp_path, capsys, spoil, message):
    spoil(copy)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        export_from_megatron(copy, tmp_path / "back.pt")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "back.pt").exists() and "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [evil_metadata, evil_common, evil_state])
def test_nothing_reaches_megatrons_own_reader_that_could_run_code(copy, capsys, spoil):
    assert check_stored(copy) == copy / "release"
    spoil(copy)
    with pytest.raises(ValueError, match="carries objects that could run code|is damaged"):
        check_stored(copy)
    assert "code ran" not in capsys.readouterr().out


def test_commands_name_what_is_wrong(trained, tmp_path):
    pytest.importorskip("megatron.core", reason="needs the extra megatron")
    text = run_program(
        "langsamp", "megatron", "import", trained, "--out", tmp_path / "x", "--tensor-parallel", 3, expect=2
    )
    assert "its 2 heads must be divisible by the 3 ranks of --tensor-parallel" in text and not (tmp_path / "x").exists()
    text = run_program("langsamp", "megatron", "export", tmp_path / "none", "--out", tmp_path / "y.pt", expect=2)
    assert "must be a checkpoint folder of Megatron-Core, but is missing" in text


@pytest.mark.parametrize("value", [None, [], {"sizes": {}}, {"sizes": {"layers": 1}, "tags": []}])
def test_a_record_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="must be"):
        Record.from_json(value)
