import csv
import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_pieces import read_split, same_data
from support import run

from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.data import text_pieces
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.held_out import choose_held_out
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


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
    """Existing languages keep their ids, and another vocabulary is refused."""
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
