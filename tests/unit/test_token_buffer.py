import os
import pickle

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder

from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.token_buffer import HEADER, TokenBuffer, best_dtype, write_index
from langsamp_plugin.lang_script import LangScript

TAG = LangScript("eng", "Latn")


def write(prefix, sentences, dtype=np.uint16):
    """Write sentences with fairseq's own builder."""
    builder = MMapIndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(f"{prefix}.idx")
    return prefix


def whole(buffer):
    return buffer.read(0, buffer.num_tokens).tolist()


SENTENCES = [[5, 6, 7, 2], [8, 2], [9] * 10 + [2], [2], [10, 11, 2]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64])
def test_reads_what_fairseq_writes(tmp_path, dtype):
    buffer = TokenBuffer(write(tmp_path / "train", SENTENCES, dtype))
    assert (buffer.num_sentences, buffer.num_tokens) == (5, 21)
    assert whole(buffer) == sum(SENTENCES, [])
    assert buffer.sizes().tolist() == [4, 2, 11, 1, 3]
    assert whole(pickle.loads(pickle.dumps(buffer))) == whole(buffer) and buffer.read(3, 5).tolist() == [2, 8]
    assert len(pickle.dumps(buffer)) < 2000


def test_fairseq_reads_what_we_write(tmp_path):
    tokens = np.array(sum(SENTENCES, []), dtype=np.uint16)
    (tmp_path / "a.bin").write_bytes(tokens.tobytes())
    sizes = np.array([len(s) for s in SENTENCES])
    write_index(tmp_path / "a.idx", [sizes[:2], sizes[2:]], np.uint16)
    stock = MMapIndexedDataset(str(tmp_path / "a"))
    assert [stock[i].tolist() for i in range(len(stock))] == SENTENCES
    write(tmp_path / "b", SENTENCES)
    assert (tmp_path / "a.idx").read_bytes() == (tmp_path / "b.idx").read_bytes()


def test_dtype_is_fairseqs():
    from fairseq.data.indexed_dataset import best_fitting_int_dtype

    for size in (100, 65_499, 65_500, 250_002, 401_145):
        assert best_dtype(size) == best_fitting_int_dtype(size)


def test_empty_split(tmp_path):
    buffer = TokenBuffer(write(tmp_path / "train", []))
    assert buffer.num_tokens == 0 and whole(buffer) == []


def damage(prefix, how):
    index, binary = prefix.with_suffix(".idx"), prefix.with_suffix(".bin")
    if how == "cut bin":
        binary.write_bytes(binary.read_bytes()[:-3])
    elif how == "long bin":
        binary.write_bytes(binary.read_bytes() + b"xx")
    elif how == "cut idx":
        index.write_bytes(index.read_bytes()[:-5])
    elif how == "empty idx":
        index.write_bytes(b"")
    elif how == "text idx":
        index.write_text("this is not an index")
    elif how == "dtype":
        data = bytearray(index.read_bytes())
        data[17] = 77
        index.write_bytes(bytes(data))
    elif how == "no bin":
        binary.unlink()
    elif how == "other idx":
        write(prefix.with_name("other"), SENTENCES[:2])
        index.write_bytes(prefix.with_name("other.idx").read_bytes())


@pytest.mark.parametrize(
    "how", ["cut bin", "long bin", "cut idx", "empty idx", "text idx", "dtype", "no bin", "other idx"]
)
def test_damage_is_named(tmp_path, how):
    prefix = write(tmp_path / "train", SENTENCES)
    damage(prefix, how)
    with pytest.raises((ValueError, FileNotFoundError), match=r"train\.(bin|idx).*binarize this language again"):
        TokenBuffer(prefix)


def test_a_file_that_is_cut_off_in_use_is_named(tmp_path):
    buffer = TokenBuffer(write(tmp_path / "train", SENTENCES))
    assert buffer.read(0, 4).tolist() == SENTENCES[0]
    os.truncate(tmp_path / "train.bin", 20)
    with pytest.raises(ValueError, match=r"train\.bin was cut off while in use"):
        buffer.read(8, 12)


def test_damage_inside_the_index_is_named(tmp_path):
    """What the header cannot tell: the sizes of two sentences changed places, the buffer's length is still right."""
    prefix = write(tmp_path / "train", SENTENCES)
    TokenBuffer(prefix).check()
    data = bytearray(prefix.with_suffix(".idx").read_bytes())
    data[HEADER.size : HEADER.size + 8] = data[HEADER.size + 4 : HEADER.size + 8] + data[HEADER.size : HEADER.size + 4]
    prefix.with_suffix(".idx").write_bytes(data)
    with pytest.raises(ValueError, match=r"train\.idx: sentence 2 does not begin.*binarize this language again"):
        TokenBuffer(prefix).check()


def blocks(buffers, size=5, vocab=100):
    return LanguageBlocks(TAG, buffers, block_size=size, vocab_size=vocab)


def test_blocks_keep_every_token(tmp_path):
    buffers = [
        TokenBuffer(write(tmp_path / "train", SENTENCES)),
        TokenBuffer(write(tmp_path / "train1", SENTENCES[:2])),
    ]
    cut = blocks(buffers)
    assert [len(cut.block(i)) for i in range(len(cut))] == [5, 5, 5, 5, 1, 5, 1]
    assert np.concatenate([cut.block(i) for i in range(len(cut))]).tolist() == sum(SENTENCES + SENTENCES[:2], [])


def test_id_outside_the_dictionary_is_named(tmp_path):
    cut = blocks([TokenBuffer(write(tmp_path / "train", SENTENCES))], vocab=9)
    assert cut.block(0).tolist() == SENTENCES[0] + [8]
    with pytest.raises(ValueError, match=r"train\.bin has token id 9 .* 9 types"):
        cut.block(1)


def test_header_layout():
    assert HEADER.size == 26


def test_threads_and_more_buffers_than_stay_open(tmp_path):
    """A file that drops out of the cache between its lookup and the read was closed, and its number another file's."""
    from concurrent.futures import ThreadPoolExecutor

    from langsamp_plugin.data import token_buffer

    buffers = [TokenBuffer(write(tmp_path / str(number), [[number, 2]])) for number in range(40)]
    original = token_buffer._open
    small = token_buffer.lru_cache(maxsize=2)(original.__wrapped__)
    token_buffer._open = small
    try:
        with ThreadPoolExecutor(8) as pool:
            numbers = list(np.random.default_rng(0).integers(40, size=6000))
            found = list(pool.map(lambda number: int(buffers[number].read(0, 1)[0]), numbers))
    finally:
        token_buffer._open = original
    assert found == numbers
