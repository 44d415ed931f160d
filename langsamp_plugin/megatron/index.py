"""Writes indexes with which Megatron's ``IndexedDataset`` reads fairseq's ``.bin`` files, which are linked, not copied.

Both formats have a common origin and share their first fields. Layout of Megatron's ``.idx``: 9 bytes magic, uint64
version (1), uint8 dtype code, uint64 number of sentences n, uint64 number of document starts n + 1, n x int32 sizes in
tokens, n x int64 byte offsets into ``.bin``, (n + 1) x int64 document starts. Each sentence is a document here, like
the lines of a corpus.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_folder, atomic_write
from langsamp_plugin.data.data_folder import data_languages
from langsamp_plugin.data.token_buffer import MAGIC, PIECE, TokenBuffer, buffer_path, index_path
from langsamp_plugin.lang_script import LanguageTable, ScriptTable
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME

HEADER = struct.Struct("<9sQBQQ")
CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "uint16": 8, "uint32": 4, "uint64": 5}
"""Megatron's dtype codes. It lacks uint32 and uint64; ids are far below 2 ** 31, where signed and unsigned are
equal."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2}
MARKER = "megatron.txt"
BESIDE = ("dict.txt", LanguageTable.filename, ScriptTable.filename, SPM_FILENAME)


class IndexResult(NamedTuple):
    """Result of indexing.

    Args:
        languages: number of tags.
        sentences, tokens: totals over all splits.
    """

    languages: int
    sentences: int
    tokens: int


def index_data(data: PathLike, out: PathLike, overwrite: bool = False) -> IndexResult:
    """Write a folder from which Megatron's ``IndexedDataset`` can read every split of every language.

    Args:
        data: a binarized data folder; empty splits are skipped.
        out: the folder to write, ``<tag>/<split>.{bin,idx}`` like the data folder; each ``.bin`` is a hard link to the
            original, or a symbolic link across disks.
        overwrite: replace an earlier folder of this kind even if files were added to it.

    Raises:
        FileNotFoundError: the data are missing.
        ValueError: a file is damaged, or ``out`` was not written by this function.
    """
    data, out = Path(data), Path(out)
    if data.resolve() == out.resolve():
        raise ValueError(f"--out must differ from the data folder, but both are {out}: the indexes have the same names")
    count = sentences = tokens = 0
    # Contents are not hashed: the .bin files have all of the text and belong to the data folder.
    with atomic_folder(out, MARKER, overwrite, contents=False) as folder:
        for tag, sources in progress(data_languages(data).items(), desc="index", unit="language"):
            for number, source in enumerate(sources):
                # Several folders of one tag stay separate: zho_Hani and zho_Hani.1.
                target = folder / (str(tag) if not number else f"{tag}.{number}")
                target.mkdir()
                for path in sorted(source.glob("*.idx")):
                    buffer = TokenBuffer(path.with_suffix(""))
                    if not buffer.num_tokens:  # Megatron maps the file, but an empty file cannot be mapped
                        continue
                    _link(buffer_path(buffer.prefix), buffer_path(target / path.stem))
                    write_megatron_index(buffer, index_path(target / path.stem))
                    sentences, tokens = sentences + buffer.num_sentences, tokens + buffer.num_tokens
            count += 1
        for name in BESIDE:
            if (data / name).is_file():
                shutil.copyfile(data / name, folder / name)
        (folder / MARKER).write_text("indexes of Megatron-Core over linked .bin files\n", encoding="utf-8")
    return IndexResult(count, sentences, tokens)


def write_megatron_index(buffer: TokenBuffer, path: PathLike) -> None:
    """Write Megatron's index of a token buffer in pieces.

    Raises:
        ValueError: the buffer's own index is damaged.
    """
    buffer.check()
    n = buffer.num_sentences
    with atomic_write(path, "wb") as stream:
        stream.write(HEADER.pack(MAGIC, 1, CODES[buffer.dtype.name], n, n + 1))
        for piece in _pieces(buffer):
            stream.write(piece.tobytes())
        offset = 0
        for piece in _pieces(buffer):
            ends = offset + np.cumsum(piece, dtype=np.int64) * buffer.dtype.itemsize
            stream.write(np.concatenate([[offset], ends[:-1]]).astype(np.int64).tobytes())
            offset = int(ends[-1])
        for start in range(0, n + 1, PIECE):
            stream.write(np.arange(start, min(start + PIECE, n + 1), dtype=np.int64).tobytes())


def check_megatron_index(prefix: PathLike) -> int:
    """Check that an index in Megatron's format belongs to the ``.bin`` next to it.

    Args:
        prefix: path without extension.

    Returns:
        The number of sentences.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the index is damaged, in fairseq's format, or belongs to another ``.bin``.
    """
    index, buffer = index_path(prefix), buffer_path(prefix)
    for path in (index, buffer):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: run `langsamp megatron index` again")
    remedy = "run `langsamp megatron index` again"
    size = index.stat().st_size
    with open(index, "rb") as stream:
        header = stream.read(HEADER.size)
        if len(header) < HEADER.size or header[:9] != MAGIC:
            raise ValueError(f"{index} must be a Megatron index, but does not start like one: {remedy}")
        _, version, code, n, documents = HEADER.unpack(header)
        if version != 1 or code not in SIZES or documents != n + 1 or size != HEADER.size + 12 * n + 8 * documents:
            raise ValueError(
                f"{index} must be a Megatron index of {n:,} sentences, but is in fairseq's format or damaged: {remedy}"
            )
        end = 0
        if n:
            stream.seek(HEADER.size + 4 * (n - 1))
            (last_size,) = struct.unpack("<i", stream.read(4))
            stream.seek(HEADER.size + 4 * n + 8 * (n - 1))
            (last_offset,) = struct.unpack("<q", stream.read(8))
            end = last_offset + last_size * SIZES[code]
    if buffer.stat().st_size != end:
        raise ValueError(
            f"{buffer} must have {end:,} bytes according to {index.name}, but has {buffer.stat().st_size:,}: the index "
            f"belongs to another file; {remedy}"
        )
    return int(n)


def check_indexed(folder: PathLike) -> int:
    """Check all indexes of a folder written by :func:`index_data`, and return their number.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an index is damaged, or belongs to another ``.bin``.
    """
    prefixes = [path.with_suffix("") for path in sorted(Path(folder).glob("*/*.idx"))]
    if not prefixes:
        raise FileNotFoundError(f"{folder} contains no <tag>/*.idx: write it with `langsamp megatron index`")
    for prefix in prefixes:
        check_megatron_index(prefix)
    return len(prefixes)


def _pieces(buffer: TokenBuffer) -> Iterator[np.ndarray]:
    if buffer.num_sentences:
        sizes = buffer.sizes()
        yield from (sizes[start : start + PIECE] for start in range(0, len(sizes), PIECE))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without hard links
        target.symlink_to(source.resolve())
