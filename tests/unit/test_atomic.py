import errno
import os
import stat
import subprocess
import threading

import pytest

from langsamp_plugin.atomic import atomic_folder, atomic_write, replaceable_folder
from langsamp_plugin.errors import InUseError, StorageError
from langsamp_plugin.place import claim_file, claim_folder
from langsamp_plugin.temporary import create_temporary, temporary_name


def write(path, content="text", overwrite=False):
    with atomic_folder(path, marker="config.json", overwrite=overwrite) as folder:
        (folder / "config.json").write_text(content)


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


def test_two_writers_of_one_process_number(tmp_path):
    """As two containers on a shared disk: neither cuts off what the other writes, the last one has the name."""
    path, halfway, done = tmp_path / "file", threading.Event(), threading.Event()

    def other():
        halfway.wait()
        with atomic_write(path, "wb") as stream:
            stream.write(b"b" * 10)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with atomic_write(path, "wb") as stream:
        stream.write(b"a" * 5000)
        halfway.set()
        done.wait()
        assert path.read_bytes() == b"b" * 10
        stream.write(b"a" * 5000)
    thread.join()
    assert path.read_bytes() == b"a" * 10_000 and os.listdir(tmp_path) == ["file"]


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file"):
            pass
        with atomic_folder(tmp_path / "out", "config.json") as folder:
            (folder / "config.json").write_text("")
            (folder / "private").write_text("")
            os.chmod(folder / "private", 0o600)  # as safetensors does
    finally:
        os.umask(before)
    for name in ("file", "out/config.json", "out/private"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_names_the_file(tmp_path, number):
    with pytest.raises(StorageError, match="file could not be written, ") as caught, atomic_write(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number and os.strerror(number) in caught.value.strerror
    assert not list(tmp_path.iterdir())


def test_links_are_kept(tmp_path):
    (tmp_path / "far").mkdir()
    write(tmp_path / "far" / "folder", "old")
    (tmp_path / "far" / "file").write_text("old")
    for name in ("file", "folder", "new"):
        (tmp_path / name).symlink_to(tmp_path / "far" / name)
    with atomic_write(tmp_path / "file") as stream:
        stream.write("new")
    for name in ("folder", "new"):
        write(tmp_path / name, "new")
        assert (tmp_path / "far" / name / "config.json").read_text() == "new"
    assert (tmp_path / "far" / "file").read_text() == "new"
    assert all((tmp_path / name).is_symlink() for name in ("file", "folder", "new"))
    assert sorted(os.listdir(tmp_path)) == ["far", "file", "folder", "new"]
    assert sorted(os.listdir(tmp_path / "far")) == ["file", "folder", "new"]


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
    write(path, "old")

    def replace(source, target):
        if str(target) == str(path) and str(source).endswith(".tmp"):
            raise PermissionError(errno.EACCES, "no", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StorageError, match="out could not be written"):
        write(path, "new")
    assert (path / "config.json").read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_old_folder_comes_back_after_a_kill_between_the_renames(tmp_path):
    path = tmp_path / "out"
    write(path, "old")
    os.replace(path, temporary_name(path, "old"))
    temporary_name(path).mkdir()
    with pytest.raises(RuntimeError), replaceable_folder(path, "config.json"):
        raise RuntimeError
    assert (path / "config.json").read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_folder_of_another_kind_is_kept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is not replaced"):
            write(tmp_path / "out", overwrite=overwrite)
    assert (tmp_path / "out" / "thesis.tex").exists()


@pytest.mark.parametrize("change", ["added", "edited", "link", "older version"])
def test_what_somebody_added_is_kept(tmp_path, change):
    path = tmp_path / "out"
    write(path, "old")
    write(path, "same")  # its own is replaced
    if change == "added":
        (path / "sub").mkdir()
        (path / "sub" / "notes.txt").write_text("mine")
    elif change == "edited":
        times = (path / "config.json").stat()
        (path / "config.json").write_text("SAME")
        os.utime(path / "config.json", ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "link":
        (path / "data").symlink_to(tmp_path)
    else:
        (path / ".written.json").unlink()
    before = sorted(map(str, path.rglob("*")))
    with pytest.raises(ValueError, match="add --overwrite"):
        write(path, "new")
    assert sorted(map(str, path.rglob("*"))) == before
    write(path, "new", overwrite=True)
    assert sorted(os.listdir(path)) == [".written.json", "config.json"]


def test_the_folder_that_one_is_in_is_filled_and_stays(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    inode = os.stat(".").st_ino
    for content in ("one", "two"):
        with atomic_folder(".", marker="config.json") as folder:
            (folder / "config.json").write_text(content)
            (folder / content).write_text("")
    assert sorted(os.listdir(".")) == [".written.json", "config.json", "two"] and os.stat(".").st_ino == inode
    with pytest.raises(RuntimeError), atomic_folder(".", marker="config.json"):
        raise RuntimeError
    assert (tmp_path / "out" / "config.json").read_text() == "two" and os.listdir(tmp_path) == ["out"]


def test_two_at_once_are_refused(tmp_path):
    errors = []

    def other():
        try:
            write(tmp_path / "out", "other")
        except InUseError as error:
            errors.append(str(error))

    with atomic_folder(tmp_path / "out", "config.json") as folder:
        (folder / "config.json").write_text("first")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(errors) == 1 and f"process {os.getpid()} on " in errors[0]
    assert (tmp_path / "out" / "config.json").read_text() == "first" and os.listdir(tmp_path) == ["out"]


def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", tmp_path / "pipe"):
        with pytest.raises(StorageError, match="device or pipe"), claim_file(path):
            pass
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_links_that_lead_round(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for claim in (claim_file, claim_folder, replaceable_folder):
        with pytest.raises(StorageError, match="links form a loop"), claim(tmp_path / "one"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_mounted_file_is_refused_before_the_work(tmp_path):
    """It cannot be renamed over, as in ``docker -v FILE:FILE``."""
    for name in ("far", "file"):
        (tmp_path / name).write_text(name)
    subprocess.run(["mount", "--bind", tmp_path / "far", tmp_path / "file"], check=True)
    try:
        with pytest.raises(StorageError, match="is a mount point"), claim_file(tmp_path / "file"):
            pass
    finally:
        subprocess.run(["umount", tmp_path / "file"], check=True)
    assert sorted(os.listdir(tmp_path)) == ["far", "file"]


def test_leftovers_of_leftovers_are_removed(tmp_path):
    """What a kill leaves while a folder is written into one that is itself still hidden."""
    path = tmp_path / "out"
    inner = temporary_name(temporary_name(path))
    inner.mkdir()
    (tmp_path / f".{temporary_name(path).name}.lock").write_text("{}")
    (tmp_path / ".other.lock").write_text("{}")
    with replaceable_folder(path):
        pass
    assert os.listdir(tmp_path) == [".other.lock"]


def test_the_test_file_of_a_killed_run_is_removed(tmp_path):
    """A run that is killed while it tries a place leaves a file there, and the next one writes a folder."""
    killed, descriptor = create_temporary(tmp_path / "try")
    os.close(descriptor)  # as the kernel does, and with it goes the lock
    with replaceable_folder(tmp_path / "out"):
        assert not killed.exists()
