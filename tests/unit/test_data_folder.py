from pathlib import Path

import pytest

from langsamp_plugin.data.data_folder import data_languages, read_tag_map, split_parts


def make_folder(path, names):
    for name in names:
        (path / name).mkdir(parents=True)
        (path / name / "train.idx").write_bytes(b"")
    return path


def test_nothing_depends_on_the_order_of_the_listing(tmp_path, monkeypatch):
    make_folder(tmp_path, ["zul_Latn", "eng_Latn", "zh-Hant", "zh-Hans", "deu_Latn"])
    listed = Path.iterdir
    orders = []
    for reverse in (False, True):
        # The file system may list in any order; sorted either way stands for two of them.
        monkeypatch.setattr(Path, "iterdir", lambda path, r=reverse: iter(sorted(listed(path), reverse=r)))
        orders.append(list(data_languages(tmp_path).items()))
    assert orders[0] == orders[1]
    folders = {str(tag): [folder.name for folder in found] for tag, found in orders[0]}
    assert folders["zho_Hani"] == ["zh-Hans", "zh-Hant"] and len(folders) == 4


def test_new_language_leaves_the_tags_of_others(tmp_path):
    """The fault of ids from a sorted listing: here a tag names itself, and tables are matched by code."""
    before = set(data_languages(make_folder(tmp_path, ["deu_Latn", "zul_Latn"])))
    assert before < set(data_languages(make_folder(tmp_path, ["abk_Cyrl"])))


def test_faults_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="langsamp binarize"):
        data_languages(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no <tag>"):
        data_languages(tmp_path)
    make_folder(tmp_path, ["foo_Latn"])
    with pytest.raises(ValueError, match=r"foo_Latn.*--tag-map"):
        data_languages(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a b\n", "line 1: must be FOLDER<tab>TAG"), ("# c\n\nx\tqq\n", "line 3: .*no known language")],
)
def test_malformed_tag_map(tmp_path, text, message):
    (tmp_path / "map.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_tag_map(tmp_path / "map.tsv")


def test_tag_map(tmp_path):
    (tmp_path / "map.tsv").write_text("# comment\nmine\tsr@latin\n")
    assert {name: str(tag) for name, tag in read_tag_map(tmp_path / "map.tsv").items()} == {"mine": "srp_Latn"}


def test_parts_of_a_split(tmp_path):
    for name in ("train.idx", "train1.bin", "train3.idx"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in split_parts(tmp_path, "train", combine=True)] == ["train", "train1"]
    assert [path.name for path in split_parts(tmp_path, "train")] == ["train"]
    assert split_parts(tmp_path, "valid", combine=True) == []
