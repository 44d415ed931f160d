"""An export replaces what an export wrote, and nothing else."""

import os

import pytest

from langsamp_plugin.convert.own_folder import MANIFEST, check_replaceable, own_folder


def export_to(out, **options):
    with own_folder(out, **options) as folder:
        (folder / "config.json").write_text("{}")
        (folder / "heads").mkdir()
        (folder / "heads" / "eng_Latn.safetensors").write_bytes(b"weights")


def test_own_folders_are_replaced(tmp_path):
    export_to(tmp_path / "hf")
    export_to(tmp_path / "hf")
    (tmp_path / "empty").mkdir()
    export_to(tmp_path / "empty")
    assert (tmp_path / "hf" / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hf: (hf / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin was added"),
        (
            lambda hf: (hf / "checkpoint-500").mkdir() or (hf / "checkpoint-500" / "a").write_text(""),
            "checkpoint-500/a was",
        ),
        (lambda hf: (hf / "config.json").write_text("{ }"), "config.json was changed since"),
        (lambda hf: (hf / MANIFEST).unlink(), "was not written by langsamp export"),
        (lambda hf: (hf / "link").symlink_to("/"), "link was added"),
    ],
)
def test_others_are_kept(tmp_path, change, message):
    export_to(tmp_path / "hf")
    change(tmp_path / "hf")
    before = sorted(path.name for path in (tmp_path / "hf").rglob("*"))
    with pytest.raises(ValueError, match=f"{message}.*--overwrite"):
        export_to(tmp_path / "hf")
    assert sorted(path.name for path in (tmp_path / "hf").rglob("*")) == before
    export_to(tmp_path / "hf", overwrite=True)
    check_replaceable(tmp_path / "hf")


def test_a_file_is_never_replaced_and_a_link_is_followed(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="but is a file"):
        export_to(tmp_path / "file", overwrite=True)
    (tmp_path / "scratch" / "hf").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "scratch" / "hf")
    export_to(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "scratch" / "hf" / MANIFEST).is_file()


def test_modes_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with own_folder(tmp_path / "hf") as folder:
            (folder / "model.safetensors").touch(mode=0o600)
    finally:
        os.umask(old)
    assert (tmp_path / "hf" / "model.safetensors").stat().st_mode & 0o777 == 0o640
