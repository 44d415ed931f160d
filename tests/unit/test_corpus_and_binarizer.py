import csv
import shutil

import numpy as np
import pytest

from langsamp_plugin.data import binarizer
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.corpus import corpus_files, read_lines
from langsamp_plugin.data.django_catalogues import clean, held_out, locale_folders
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.data.tokenizer import Tokenizer
from langsamp_plugin.lang_script import Tables


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Hello %(name)s, you have %d mails", "Hello , you have mails"),
        ('Please <a href="%(url)s">log in</a> again.', "Please log in again."),
        ("100%% of {count} in {% block x %}it{% endblock %}", "100 of in it"),
        ("“%(value)s” &amp; more\n next  line", "“ ” & more next line"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_messages_are_cleaned(message, text):
    assert clean(message) == text


def test_demo_corpus(demo):
    tags = locale_folders()
    assert len(tags) > 80 and len({tag.script for tag in tags}) >= 20
    assert tags[("por", "Latn")] == ["pt", "pt_BR"] and len(tags[("zho", "Hani")]) == 2
    train, valid, aligned = (demo / "corpus" / part for part in ("train", "valid", "aligned"))
    assert {path.name for path in train.iterdir()} == {path.name for path in aligned.iterdir()}
    for path in train.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(set(lines)) > 100
        assert not set(lines) & set((valid / path.name).read_text(encoding="utf-8").splitlines()), (
            "held-out text is trained on"
        )
        assert not [line for line in lines if "%(" in line or "</" in line]
    english = dict(line.split("\t") for line in (aligned / "eng_Latn.txt").read_text(encoding="utf-8").splitlines())
    german = dict(line.split("\t") for line in (aligned / "deu_Latn.txt").read_text(encoding="utf-8").splitlines())
    assert len(english) > 60 and set(german) <= set(english) and all(len(text.split()) > 1 for text in english.values())
    assert sum(held_out(str(number)) for number in range(10_000)) == pytest.approx(2000, abs=160)


def read_split(folder, tokenizer, split):
    """Return the lines of a binarized split, through SentencePiece's own decoder."""
    buffer = TokenBuffer(folder / split)
    ends = np.cumsum(buffer.sizes())
    return [
        tokenizer.processor.decode([int(t) - 1 for t in part[:-1]])
        for part in np.split(buffer.tokens.astype(int), ends[:-1])
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


def test_goes_on_after_the_last_finished_language(demo, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus"
    shutil.copytree(demo / "corpus" / "train", corpus)
    done = []
    real = binarizer._write_split

    def interrupted(prefix, lines, tokenizer):
        if len(done) == 3:
            raise OSError(28, "No space left on device", str(prefix))
        done.append(prefix.parent.name)
        return real(prefix, lines, tokenizer)

    monkeypatch.setattr(binarizer, "_write_split", interrupted)
    with pytest.raises(OSError, match="No space left"):
        binarize(corpus, demo / "spm.model", tmp_path / "data", valid_lines=0)
    assert not (tmp_path / "data" / "dict.txt").exists(), "an unfinished folder must not look finished"
    first = list(done)
    done.clear()
    monkeypatch.setattr(
        binarizer, "_write_split", lambda prefix, *rest: done.append(prefix.parent.name) or real(prefix, *rest)
    )
    binarize(corpus, demo / "spm.model", tmp_path / "data", valid_lines=0)
    assert len(done) == 4 and not set(done) & set(first)
    # A changed file is done again.
    done.clear()
    with open(corpus / "eng_Latn.txt", "a") as stream:
        stream.write("one more line\n")
    binarize(corpus, demo / "spm.model", tmp_path / "data", valid_lines=0)
    assert done == ["eng_Latn"]


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
    from langsamp_plugin.data.tokenizer import train_tokenizer

    for langs in (["rus_Cyrl"], ["deu_Latn", "rus_Cyrl"]):
        binarize(demo / "corpus" / "train", demo / "spm.model", tmp_path / "data", valid_lines=0, langs=langs)
    assert Tables.load(tmp_path / "data").languages.codes == ("rus", "deu")
    train_tokenizer(demo / "corpus" / "train", tmp_path / "other.model", 1500)
    with pytest.raises(ValueError, match=r"dict\.txt has 1,997 pieces of another model.* 1,497"):
        binarize(demo / "corpus" / "train", tmp_path / "other.model", tmp_path / "data", langs=["eng_Latn"])
    assert not (tmp_path / "data" / "eng_Latn").exists()


def test_corpus_faults_are_named(tmp_path):
    (tmp_path / "eng_Latn.txt").write_text("text\n")
    for name, content, message in [
        ("deu_Latn.txt", b"", "deu_Latn.txt is empty"),
        ("german.txt", b"x\n", "german.txt: tag must be"),
        ("foo_Latn.txt", b"x\n", "'foo'.*not an ISO 639-3"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            corpus_files(tmp_path)
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="no zul_Latn.txt"):
        corpus_files(tmp_path, ["zul_Latn"])
    (tmp_path / "deu_Latn.txt").write_bytes("gut\nsch\xf6n\n".encode("latin-1"))
    with pytest.raises(ValueError, match="deu_Latn.txt, line 2: not UTF-8.*iconv"):
        list(read_lines(tmp_path / "deu_Latn.txt"))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\x04\x0a\x00"])
def test_damaged_tokenizer(tmp_path, content):
    (tmp_path / "spm.model").write_bytes(content)
    with pytest.raises(ValueError, match=r"spm\.model"):
        Tokenizer(tmp_path / "spm.model")
