"""Megatron's IndexedDataset reads our ids, over the same files."""

import os
import shutil

import numpy as np
import pytest
from support import run

from langsamp_plugin.data.token_buffer import TokenBuffer, best_dtype, write_index
from langsamp_plugin.lang_script import LanguageTable
from langsamp_plugin.megatron.index import check_indexed, check_megatron_index, index_data

pytest.importorskip("megatron.core", reason="needs the extra megatron")


@pytest.fixture(params=[250_002, 8_000])
def data(tmp_path, request):
    """A data folder of 100 languages, one of them without a sentence."""
    generator = np.random.default_rng(0)
    for number, code in enumerate(list(LanguageTable.glot500())[:100]):
        folder = tmp_path / "data" / f"{code}_Latn"
        folder.mkdir(parents=True)
        sizes = generator.integers(1, 30, size=number % 17).astype(np.int32)
        ids = generator.integers(0, request.param, size=int(sizes.sum()))
        ids[: len(ids) and 1] = request.param - 1
        ids.astype(best_dtype(request.param)).tofile(folder / "train.bin")
        write_index(folder / "train.idx", [sizes], best_dtype(request.param))
    return tmp_path / "data"


def test_the_same_ids_in_100_languages(data, tmp_path):
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    done = index_data(data, tmp_path / "out")
    assert done.languages == 100 and check_indexed(tmp_path / "out") == 94, "six have no sentence"
    total = 0
    for folder in sorted(data.iterdir()):
        ours = TokenBuffer(folder / "train")
        if not ours.num_tokens:
            assert not (tmp_path / "out" / folder.name / "train.idx").exists()
            continue
        theirs = IndexedDataset(str(tmp_path / "out" / folder.name / "train"))
        assert len(theirs) == ours.num_sentences and len(theirs.document_indices) == ours.num_sentences + 1
        joined = np.concatenate([theirs[number] for number in range(len(theirs))] or [np.empty(0, np.int32)])
        assert np.array_equal(joined.astype(np.int64), ours.read(0, ours.num_tokens).astype(np.int64))
        total += len(joined)
        # Nothing is copied: both names are of one file.
        assert os.path.samefile(folder / "train.bin", tmp_path / "out" / folder.name / "train.bin")
    assert total == done.tokens > 10_000


def test_an_index_of_another_buffer_is_refused(data, tmp_path):
    index_data(data, tmp_path / "out")
    one, other = sorted((tmp_path / "out").glob("*_Latn"))[3:5]
    shutil.copyfile(one / "train.idx", other / "train.idx")
    with pytest.raises(
        ValueError, match=r"train.bin must have .* according to train.idx, but has .*belongs to another file"
    ):
        check_megatron_index(other / "train")
    source = data / other.name / "train.idx"
    shutil.copyfile(source, other / "train.idx")
    with pytest.raises(ValueError, match=r"is in fairseq's format or damaged"):
        check_megatron_index(other / "train")
    (other / "train.idx").write_bytes(b"no index")
    output = run("langsamp", "megatron", "index", tmp_path / "out", "--check", expect=2)
    assert "must be a Megatron index, but does not start like one" in output
    (other / "train.idx").unlink()
    assert check_indexed(tmp_path / "out") == 93
    with pytest.raises(FileNotFoundError, match=r"train.idx is missing"):
        check_megatron_index(other / "train")


def test_what_was_added_is_kept_and_permissions_are_the_data_s(data, tmp_path):
    buffer = next(path for path in sorted(data.glob("*/train.bin")) if path.stat().st_size)
    buffer.chmod(0o440)
    out = tmp_path / "out"
    for _ in range(2):  # its own is replaced
        index_data(data, out)
        assert buffer.stat().st_mode & 0o777 == 0o440 and os.path.samefile(buffer, out / buffer.relative_to(data))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"added or changed since it was written \(notes.txt\)"):
        index_data(data, out)
    assert (out / "notes.txt").read_text() == "mine"
    index_data(data, out, overwrite=True)
    assert not (out / "notes.txt").exists() and check_indexed(out) == 94


def test_the_data_folder_itself_is_not_written_into(data):
    with pytest.raises(ValueError, match="must differ from the data folder"):
        index_data(data, data)
