import csv
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import run

from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.data import text_pieces
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.held_out import choose_held_out
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


def read_split(folder, tokenizer, split):
    """Return the lines of a binarized split, through SentencePiece's own decoder."""
    buffer = TokenBuffer(folder / split)
    ends = np.cumsum(buffer.sizes())
    return [
        tokenizer.processor.decode([int(t) - 1 for t in part[:-1]])
        for part in np.split(buffer.read(0, buffer.num_tokens).astype(int), ends[:-1])
    ]


def test_binarized_text_is_the_text(demo):
    tokenizer = Tokenizer(demo / "spm.model")
    for tag in ("deu_Latn", "srp_Cyrl"):
        lines = list(read_lines(demo / "corpus" / "train" / f"{tag}.txt"))
        back = read_split(demo / "data-bin" / tag, tokenizer, "train")
        assert len(back) == len(lines)
        # Unknown characters and SentencePiece's normalisation aside, decoding gives the text back.
        same = sum(a == b for a, b in zip(lines, back))
        assert same / len(lines) > 0.9


def test_ids_are_xlmrs_and_fairseqs(demo):
    """Our ids are those that fairseq gives the pieces through dict.txt."""
    from fairseq.data import Dictionary

    tokenizer = Tokenizer(demo / "spm.model")
    dictionary = Dictionary.load(str(demo / "data-bin" / "dict.txt"))
    assert dictionary.add_symbol("<mask>") == tokenizer.vocab_size - 1 == len(dictionary) - 1
    lines = [*list(read_lines(demo / "corpus" / "train" / "hin_Deva.txt"))[:50], "\u16a0\u16a1 unknown runes"]
    tokens, sizes = tokenizer.encode(lines)
    expected = [
        dictionary.encode_line(
            " ".join(tokenizer.processor.encode(line, out_type=str)), add_if_not_exist=False
        ).tolist()
        for line in lines
    ]
    assert np.split(tokens, np.cumsum(sizes)[:-1])[0].tolist() == expected[0]
    assert tokens.tolist() == sum(expected, []) and 3 in tokens


def test_same_bytes_for_any_number_of_workers(demo, tmp_path):
    for workers in (1, 2):
        binarize(
            demo / "corpus" / "train", demo / "spm.model", tmp_path / str(workers), valid_lines=20, workers=workers
        )
    one, two = tmp_path / "1", tmp_path / "2"
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for path in files:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path
    with open(one / "stats.tsv") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for row in rows:
        buffer = TokenBuffer(one / row["tag"] / row["split"])
        assert (buffer.num_sentences, buffer.num_tokens) == (int(row["lines"]), int(row["tokens"]))
    assert Tables.load(one).languages.codes == ("deu", "eng", "hin", "rus", "srp", "zho")


def test_held_out_lines(tmp_path, demo):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    # Letters and no digits, since all of them are in the vocabulary: unknown ones would look the same in the end.
    lines = ["Zeile " + " ".join("abcdefghij"[int(digit)] for digit in str(number % 80)) for number in range(100)]
    (corpus / "deu_Latn.txt").write_text("\n".join(lines))
    (corpus / "eng_Latn.txt").write_text("only\nfive\nshort\nlines\nhere\n")
    rows = binarize(corpus, demo / "spm.model", tmp_path / "data", valid_lines=50)
    assert [(row["tag"], row["split"]) for row in rows] == [
        ("deu_Latn", "train"),
        ("deu_Latn", "valid"),
        ("eng_Latn", "train"),
    ]
    tokenizer = Tokenizer(demo / "spm.model")
    train, valid = (read_split(tmp_path / "data" / "deu_Latn", tokenizer, split) for split in ("train", "valid"))
    assert 10 <= len(valid) <= 11 and len(train) + len(valid) == 100
    assert not set(train) & set(valid), "equal lines stay together"


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(text_pieces, "PIECE", 3000)


def same_data(one, other):
    """Compare every file that training reads, byte for byte."""
    names = sorted(
        path.relative_to(one) for path in one.rglob("*") if path.suffix in (".bin", ".idx", ".tsv", ".txt", ".model")
    )
    assert names == sorted(
        path.relative_to(other)
        for path in other.rglob("*")
        if path.suffix in (".bin", ".idx", ".tsv", ".txt", ".model")
    )
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert len([name for name in names if name.suffix == ".bin"]) > 7
    assert not list(other.glob("*/.pieces*")) and not list(other.rglob("*.tmp"))


def test_pieces_do_not_show(demo, tmp_path, small_pieces):
    """Text cut into some dozen pieces for three workers gives the bytes of one piece and one worker."""
    arguments = demo / "corpus" / "train", demo / "spm.model"
    binarize(*arguments, tmp_path / "data", valid=demo / "corpus" / "valid", workers=3)
    assert sum(path.stat().st_size // 3000 for path in arguments[0].iterdir()) > 50
    same_data(demo / "data-bin", tmp_path / "data")


def test_held_out_lines_of_a_text_of_many_pieces(demo, tmp_path, small_pieces):
    corpus = demo / "corpus" / "train"
    binarize(corpus, demo / "spm.model", tmp_path / "data", valid_lines=40, workers=2, langs=["deu_Latn"])
    tokenizer = Tokenizer(demo / "spm.model")
    train, valid = (read_split(tmp_path / "data" / "deu_Latn", tokenizer, split) for split in ("train", "valid"))
    # Their number is estimated: 40 with a standard deviation of about 6.
    assert 20 <= len(valid) <= 60 and not set(train) & set(valid)
    assert len(train) + len(valid) == sum(1 for _ in read_lines(corpus / "deu_Latn.txt"))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_make_one_folder(demo, tmp_path, small_pieces, order):
    arguments = {"valid": demo / "corpus" / "valid", "tables": "data"}
    for number in order:
        assert not (tmp_path / "data" / "dict.txt").exists(), "a folder without its last shard must not look finished"
        rows = binarize(
            demo / "corpus" / "train", demo / "spm.model", tmp_path / "data", shard=(number, 3), **arguments
        )
        assert bool(rows) == (number == order[-1])
    same_data(demo / "data-bin", tmp_path / "data")


def test_shards_at_the_same_time(demo, tmp_path):
    command = ["langsamp", "binarize", demo / "corpus" / "train", "--spm", demo / "spm.model", "--out",
    tmp_path / "data",
               "--valid", demo / "corpus" / "valid", "--shard"]  # fmt: skip
    with ThreadPoolExecutor() as pool:
        outputs = list(pool.map(lambda shard: run(*command, shard), ["1/2", "2/2"]))
    same_data(demo / "data-bin", tmp_path / "data")
    assert any("train: 7 languages" in output for output in outputs)
    assert "I from 1 to N" in run(*command, "0/2", expect=2)


def test_goes_on_after_the_last_finished_piece(demo, tmp_path, monkeypatch, small_pieces):
    corpus = tmp_path / "corpus"
    shutil.copytree(demo / "corpus" / "train", corpus)
    done = []
    real = Tokenizer.encode

    def encode(self, lines):
        if len(done) == stop:
            raise OSError(28, "No space left on device")
        done.append(list(lines))
        return real(self, lines)

    monkeypatch.setattr(Tokenizer, "encode", encode)

    def attempt():
        done.clear()
        binarize(corpus, demo / "spm.model", tmp_path / "data", valid=demo / "corpus" / "valid")

    stop = 30
    with pytest.raises(OSError, match=r"00\d+\.\w+\.(bin|sizes) could not be written, free some space"):
        attempt()
    assert not (tmp_path / "data" / "dict.txt").exists(), "an unfinished folder must not look finished"
    assert not list((tmp_path / "data").glob("*/train.bin")) and not list((tmp_path / "data").rglob("*.tmp"))
    first, stop = list(done), -1
    # A piece whose bytes did not reach the disk before the machine crashed is done again.
    cut = sorted((tmp_path / "data").glob("*/.pieces-*/*.train.bin"))[0]
    cut.write_bytes(cut.read_bytes()[:-2])
    attempt()
    assert len([part for part in done if part in first]) == 1
    same_data(demo / "data-bin", tmp_path / "data")
    # A changed file is done again, and nothing else.
    with open(corpus / "eng_Latn.txt", "a") as stream:
        stream.write("one more line\n")
    attempt()
    texts = (corpus / "eng_Latn.txt", demo / "corpus" / "valid" / "eng_Latn.txt")
    assert len(done) == sum(-(-path.stat().st_size // 3000) for path in texts)
    attempt()
    assert not done


def test_killed_with_its_workers(demo, tmp_path, monkeypatch):
    """SIGKILL in the middle: no process stays behind, no half file is taken for a whole one, the same command ends
    it."""
    (tmp_path / "corpus").mkdir()
    for tag in ("hin_Deva", "rus_Cyrl"):
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_bytes()
        (tmp_path / "corpus" / f"{tag}.txt").write_bytes(text * 100)
    command = ["langsamp", "binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--workers", 2]
    command += ["--valid-lines", 0, "--out"]
    first = subprocess.Popen(
        [sys.executable, "-m", "langsamp_plugin.cli", *map(str, command[1:]), str(tmp_path / "data")]
    )
    while not list((tmp_path / "data").glob("*/.pieces*/*.tmp")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    time.sleep(0.5)

    def mine(process):
        try:
            return str(tmp_path / "data") in (process / "cmdline").read_text()
        except OSError:  # it has ended
            return False

    assert not [process for process in Path("/proc").glob("[0-9]*") if mine(process)]
    run(*command, tmp_path / "data")
    run(*command, tmp_path / "whole")
    for path in (tmp_path / "whole").glob("*/*.bin"):
        assert path.read_bytes() == (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_full_disk(demo, tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses to write in the same way."""
    (tmp_path / "corpus").mkdir()
    text = (demo / "corpus" / "train" / "hin_Deva.txt").read_text(encoding="utf-8")
    (tmp_path / "corpus" / "hin_Deva.txt").write_text(text * 20, encoding="utf-8")
    shutil.copy(demo / "corpus" / "train" / "eng_Latn.txt", tmp_path / "corpus")
    limit = 100_000
    output = run(
        "langsamp", "binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--out", tmp_path / "data",
        expect=1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert re.search(
        r"hin_Deva.*00000\.\w+\.(bin|sizes) could not be written, raise the limit .*: File too large$",
        output,
    )
    assert not [path for path in (tmp_path / "data" / "hin_Deva").rglob("*") if path.is_file()]
    assert not (tmp_path / "data" / "dict.txt").exists()
    # With space, the same command ends well.
    run("langsamp", "binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--out", tmp_path / "data")
    assert TokenBuffer(tmp_path / "data" / "hin_Deva" / "train").num_tokens > limit / 2


def test_a_killed_worker_is_named(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(Tokenizer, "encode", lambda self, lines: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError, match="fewer --workers"):
        binarize(demo / "corpus" / "train", demo / "spm.model", tmp_path / "data", workers=2)
    assert not (tmp_path / "data" / "dict.txt").exists()


def test_tables_are_appended_to(demo, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "languages.tsv").write_text("zul\neng\n")
    (tmp_path / "tables" / "scripts.tsv").write_text("Latn\n")
    binarize(
        demo / "corpus" / "train",
        demo / "spm.model",
        tmp_path / "data",
        valid_lines=0,
        tables=str(tmp_path / "tables"),
        langs=["eng_Latn", "rus_Cyrl"],
    )
    assert Tables.load(tmp_path / "data").languages.codes == ("zul", "eng", "rus")
    assert Tables.load(tmp_path / "data").scripts.codes == ("Latn", "Cyrl")


def test_languages_are_added_to_a_folder(demo, tmp_path):
    """Those that are there keep their ids, and another vocabulary is refused."""
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    for langs in (["rus_Cyrl"], ["deu_Latn", "rus_Cyrl"]):
        binarize(demo / "corpus" / "train", demo / "spm.model", tmp_path / "data", valid_lines=0, langs=langs)
    assert Tables.load(tmp_path / "data").languages.codes == ("rus", "deu")
    train_tokenizer(demo / "corpus" / "train", tmp_path / "other.model", 1500)
    with pytest.raises(ValueError, match=r"dict\.txt has 1,997 pieces of another model.* 1,497"):
        binarize(demo / "corpus" / "train", tmp_path / "other.model", tmp_path / "data", langs=["eng_Latn"])
    assert not (tmp_path / "data" / "eng_Latn").exists()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\x04\x0a\x00"])
def test_damaged_tokenizer(tmp_path, content):
    (tmp_path / "spm.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"spm\.model"):
        Tokenizer(tmp_path / "spm.model")


def test_one_held_out_line_of_a_text_of_many_pieces(tmp_path):
    """An estimated threshold left 2 of 10 such texts without any."""
    for seed in range(40):
        path = tmp_path / f"{seed}.txt"
        path.write_text("".join(f"line {seed} {number}\n" for number in range(300)))
        rule = choose_held_out(path, 1, path.stat().st_size // 3 + 1)
        assert 1 <= sum(map(rule.takes, path.read_text().splitlines())) <= 30


@pytest.mark.parametrize("wanted", [1, 20, 100, 1000])
def test_repeated_lines_are_not_held_out_by_the_thousand(tmp_path, wanted):
    for seed in range(20):
        path = tmp_path / f"{seed}.txt"
        lines = [f"line {seed} {number}" for number in range(1000)]
        path.write_text("\n".join([*lines, *[f"cookies {seed}"] * 1000, *[f"imprint {seed}"] * 1000]) + "\n")
        rule = choose_held_out(path, wanted, 1 << 20)
        taken = [line for line in path.read_text().splitlines() if rule.takes(line)]
        assert 1 <= len(taken) <= min(wanted, 300) and len(taken) >= 0.8 * min(wanted, 300)


def test_joining_holds_no_files_open(demo, tmp_path, monkeypatch):
    """64 GB of a language are 1,000 pieces, and 1,024 open files are the usual limit."""
    monkeypatch.setattr(text_pieces, "PIECE", 100)
    (tmp_path / "corpus").mkdir()
    shutil.copy(demo / "corpus" / "train" / "hin_Deva.txt", tmp_path / "corpus")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (tmp_path / "corpus" / "hin_Deva.txt").stat().st_size / 100 > 150
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard))
    try:
        rows = binarize(tmp_path / "corpus", demo / "spm.model", tmp_path / "data", valid_lines=5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert TokenBuffer(tmp_path / "data" / "hin_Deva" / "train").num_sentences == rows[0]["lines"]
