import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsamp_plugin.corpus.text import corpus_files, find_corpus, read_lines


def test_corpus_faults_are_named(tmp_path):
    (tmp_path / "eng_Latn.txt").write_text("text\n")
    for name, content, message in [
        ("deu_Latn.txt", b"", "deu_Latn.txt: it is empty"),
        ("german.txt", b"x\n", "german.txt: tag must be"),
        ("foo_Latn.txt", b"x\n", "'foo'.*not an ISO 639-3"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            corpus_files(tmp_path, strict=True)
        corpus = find_corpus(tmp_path)
        assert list(map(str, corpus.files)) == ["eng_Latn"] and name in corpus.left_out[0].path
        (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="no zul_Latn.txt"):
        corpus_files(tmp_path, ["zul_Latn"])
    (tmp_path / "deu_Latn.txt").write_bytes("gut\nsch\xf6n\n".encode("latin-1"))
    with pytest.raises(ValueError, match="deu_Latn.txt, line 2: not UTF-8.*iconv"):
        list(read_lines(tmp_path / "deu_Latn.txt"))
    # In the middle of a file the line is counted, too.
    with pytest.raises(ValueError, match="deu_Latn.txt, line 2: "):
        list(read_lines(tmp_path / "deu_Latn.txt", 2))


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8), max_size=12),
    st.lists(st.integers(0, 90), max_size=5),
    st.booleans(),
)
def test_ranges_share_no_line_and_lose_none(tmp_path_factory, lines, cuts, ended):
    path = tmp_path_factory.mktemp("ranges") / "text"
    path.write_bytes("\n".join(lines).encode() + (b"\n" if ended else b""))
    size = path.stat().st_size
    places = [0, *sorted({cut for cut in cuts if 0 < cut < size}), max(size, 1)]
    parts = [line for start, end in zip(places, places[1:]) for line in read_lines(path, start, end)]
    assert parts == list(read_lines(path))


def test_two_files_of_one_tag_are_not_merged(tmp_path):
    for name in ("zho_Hans", "zho_Hant"):
        (tmp_path / f"{name}.txt").write_text("text\n")
    corpus = find_corpus(tmp_path)
    assert [path.name for path in corpus.files.values()] == ["zho_Hans.txt"]
    assert "means zho_Hani, as zho_Hans.txt does: `langsamp corpus` merges them" in str(corpus.left_out[0])


def test_a_line_that_is_too_long_is_left_out(tmp_path, caplog):
    path = tmp_path / "deu_Latn.txt"
    path.write_bytes(b"\xef\xbb\xbfa\n" + b"x" * 50 + b"\nb\n" + b"y" * 20)
    for cut in (0, 2, 5, 30, 57, 58, 60):  # ranges that cover the file still share no line
        lines = [*read_lines(path, 0, cut, longest=20), *read_lines(path, cut, longest=20)]
        assert lines == ["a", "b", "y" * 20], cut
    assert "deu_Latn.txt, line 2: is longer than 20 bytes" in caplog.text
