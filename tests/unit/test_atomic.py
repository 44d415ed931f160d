import errno
import os

import pytest

from langsamp_plugin.atomic import atomic_folder, atomic_write


def test_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    with atomic_write(path) as stream:
        stream.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_full_disk_names_the_file(tmp_path):
    """/dev/full fails every write, as a full disk does."""
    full = os.open("/dev/full", os.O_WRONLY)
    with (
        pytest.raises(OSError, match="file could not be written, free some space") as caught,
        atomic_write(tmp_path / "file"),
    ):
        os.write(full, b"text")
    os.close(full)
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "out"
    for content in ("one", "two"):
        with atomic_folder(path, marker="config.json") as folder:
            (folder / "config.json").write_text(content)
            (folder / content).write_text("")
    assert sorted(os.listdir(path)) == ["config.json", "two"]
    with pytest.raises(RuntimeError), atomic_folder(path, marker="config.json") as folder:
        (folder / "config.json").write_text("half")
        raise RuntimeError
    assert (path / "config.json").read_text() == "two" and os.listdir(tmp_path) == ["out"]


def test_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path, real = tmp_path / "out", os.replace
    with atomic_folder(path, marker="config.json") as folder:
        (folder / "config.json").write_text("old")

    def replace(source, target):
        if str(source).endswith(".tmp"):
            raise PermissionError(errno.EACCES, "no", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError), atomic_folder(path, marker="config.json") as folder:
        (folder / "config.json").write_text("new")
    assert (path / "config.json").read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_folder_of_another_kind_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is not replaced"), atomic_folder(tmp_path / "out", marker="config.json"):
        pass
    assert (tmp_path / "out" / "thesis.tex").exists()
