"""Every format that a corpus comes in gives the same lines, and damage is named."""

import bz2
import gzip
import json
import lzma
import tracemalloc

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsamp_plugin.corpus.duplicates import repeated
from langsamp_plugin.corpus.readers import read_texts
from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.corpus.writer import write_corpus
from langsamp_plugin.lang_script import LangScript

HINDI = LangScript("hin", "Deva")


@pytest.fixture(scope="module")
def lines(demo):
    return (demo / "corpus" / "train" / "hin_Deva.txt").read_text(encoding="utf-8").splitlines()


def save(path, lines, column="text"):
    """Write lines in the format that the name asks for."""
    plain = "".join(f"{line}\n" for line in lines).encode()
    rows = "".join(json.dumps({"id": 1, column: line}) + "\n" for line in lines).encode()
    content = rows if "jsonl" in path.name else plain
    table = pyarrow.table({"id": [1] * len(lines), column: list(lines)})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=100)
    elif path.suffix == ".arrow":
        with pyarrow.OSFile(str(path), "wb") as stream, pyarrow.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    elif path.suffix == ".zst":
        half = len(content) // 2  # two frames, as parallel compressors write them
        path.write_bytes(
            b"".join(pyarrow.compress(part, "zstd", asbytes=True) for part in (content[:half], content[half:]))
        )
    else:
        compress = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
        path.write_bytes(compress(content))
    return path


FORMATS = ["txt", "txt.gz", "txt.xz", "txt.bz2", "txt.zst", "jsonl", "jsonl.gz", "jsonl.zst", "parquet", "arrow"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["hin_Deva.{}", "hin_Deva/train/part-0.{}", "hi.{}"])
def test_formats(tmp_path, lines, kind, name):
    save(tmp_path / name.format(kind), lines)
    (tmp_path / "README.md").write_text("no text of any language")
    found = find_sources(tmp_path).found
    assert list(found) == [HINDI]
    assert [line for path in found[HINDI] for line in read_texts(path)] == lines


def test_what_the_datasets_library_saves(tmp_path, lines):
    """One folder per language-script with the column text, as Glot500 is published."""
    data = datasets.Dataset.from_dict({"text": lines})
    data.save_to_disk(tmp_path / "hin_Deva", num_shards=3)
    data.map(lambda row: {"text": "a cache"}, cache_file_name=str(tmp_path / "hin_Deva" / "cache-1.arrow"))
    splits = datasets.DatasetDict({"train": data, "test": datasets.Dataset.from_dict({"text": ["held out"]})})
    splits.save_to_disk(tmp_path / "mar_Deva")
    splits["train"].to_parquet(tmp_path / "npi_Deva" / "train-00000-of-00001.parquet")
    splits["test"].to_parquet(tmp_path / "npi_Deva" / "test-00000-of-00001.parquet")
    for tag, files in find_sources(tmp_path).found.items():
        assert [line for path in files for line in read_texts(path)] == lines, tag
    (test,) = find_sources(tmp_path, ["mar_Deva"], split="test").found.values()
    assert [line for path in test for line in read_texts(path)] == ["held out"]


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_damage_is_named(tmp_path, lines, kind):
    path = save(tmp_path / "src" / f"hin_Deva.{kind}", lines)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-3]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"hin_Deva.{kind}.*(cut off|does not load|not JSON)"):
            write_corpus(tmp_path / "src", tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.txt")) and not list((tmp_path / "out").rglob("*.tmp"))


def test_other_mistakes_are_named(tmp_path):
    save(tmp_path / "hin_Deva.jsonl", ["a"], column="content")
    save(tmp_path / "hin_Deva.parquet", ["a"], column="content")
    for path in find_sources(tmp_path).found[HINDI]:
        with pytest.raises(ValueError, match=r"no (field|column) 'text'; it has id content: .*--column"):
            list(read_texts(path))
        assert list(read_texts(path, "content")) == ["a"]
        with pytest.raises(ValueError, match="row 1: 'id' must be text, but is int"):
            list(read_texts(path, "id"))
    (tmp_path / "hindi.txt.gz").write_bytes(b"")
    (entry,) = find_sources(tmp_path).left_out
    assert "hindi.txt.gz: 'hindi' names no known language" in str(entry) and "rename it" in str(entry)
    (tmp_path / "hindi.txt.gz").unlink()
    with pytest.raises(FileNotFoundError, match="has no deu_Latn; it has hin_Deva"):
        find_sources(tmp_path, ["de"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no text in it"):
        find_sources(tmp_path / "empty")


@pytest.mark.parametrize("kind", FORMATS)
def test_reading_streams(tmp_path, lines, kind):
    """Memory does not grow with the file: it stays below its size, in long lines, as counting allocations is slow."""
    # xz alone needs 8 MB, and the tables are read by groups of rows.
    size, most = (12_000_000, 10_000_000) if kind in ("txt.xz", "parquet", "arrow") else (2_000_000, 1_000_000)
    lines = [" ".join(lines)]
    repeats = size // sum(len(line.encode()) for line in lines)
    path = save(tmp_path / f"hin_Deva.{kind}", lines * repeats)
    tracemalloc.start()
    count = sum(1 for _ in read_texts(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(lines) * repeats and peak < most


def test_corpus_is_counted_and_cleaned(tmp_path):
    save(tmp_path / "src" / "deu_Latn.jsonl", ["  gr\u00fcn\r", "", "zwei\nZeilen", "gr\u00fcn", "n\x00ul"])
    save(tmp_path / "src" / "deu_Latn.txt.gz", ["zwei"])
    for dedup, wanted in (
        (False, ["grün", "zwei", "Zeilen", "grün", "nul", "zwei"]),
        (True, ["grün", "zwei", "Zeilen", "nul"]),
    ):
        (row,) = write_corpus(tmp_path / "src", tmp_path / "out", dedup=dedup).rows
        content = (tmp_path / "out" / "deu_Latn.txt").read_text(encoding="utf-8")
        assert content == "".join(f"{line}\n" for line in wanted)
        assert row == {
            "tag": "deu_Latn", "lines": len(wanted), "characters": sum(map(len, wanted)),
            "bytes": len(content.encode()), "duplicates": 6 - len(wanted),
        }  # fmt: skip
        header, values = (tmp_path / "out" / "counts.tsv").read_text().splitlines()
        assert dict(zip(header.split("\t"), values.split("\t"))) == {name: str(value) for name, value in row.items()}


def test_goes_on_after_the_last_language(tmp_path, lines):
    for tag in ("deu_Latn", "hin_Deva"):
        save(tmp_path / "src" / f"{tag}.txt.gz", lines[: 100 + len(tag)])
    bad = tmp_path / "src" / "swa_Latn.jsonl"
    bad.write_text('{"text": "cut')
    with pytest.raises(ValueError, match="swa_Latn.jsonl is cut off in line 1"):
        write_corpus(tmp_path / "src", tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.txt")}
    assert set(before) == {"deu_Latn.txt", "hin_Deva.txt"} and not (tmp_path / "out" / "counts.tsv").exists()
    save(bad, lines[:5])
    rows = write_corpus(tmp_path / "src", tmp_path / "out", workers=2).rows
    assert [row["lines"] for row in rows] == [108, 108, 5]
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.txt")}
    assert before.items() <= after.items() and len(after) == 3


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(1, 20))
def test_repeated_lines(lines, share):
    expected = [line in lines[:number] for number, line in enumerate(lines)]
    assert repeated(lines, share).tolist() == expected
