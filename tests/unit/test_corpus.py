import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsamp_plugin.corpus.text import corpus_files, read_lines


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
