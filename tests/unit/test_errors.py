"""A full disk in every shape that libraries give it."""

import errno
import os

import pytest
import torch
from safetensors.torch import save_file
from support import run

from langsamp_plugin import errors
from langsamp_plugin.convert.hf_folder import read_safetensors
from langsamp_plugin.errors import StorageError, storage_errno, writing
from langsamp_plugin.training.last_words import last_words

SHAPES = {
    "torch": (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 45184 vs 45076"), errno.ENOSPC),
    "safetensors": (
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        errno.ENOSPC,
    ),
    "safetensors, limit": (Exception("I/O error: File too large (os error 27)"), errno.EFBIG),
    "numpy": (OSError("19968 requested and 11232 written"), errno.ENOSPC),
    "quota": (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), errno.EDQUOT),
    "of a worker": (RuntimeError("worker: OSError: [Errno 28] No space left on device"), errno.ENOSPC),
    "of an input": (ValueError("line 3: No space left on device"), None),
    "another": (RuntimeError("shape [28]"), None),
    "permission": (PermissionError(errno.EACCES, "Permission denied"), None),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    error, number = SHAPES[shape]
    assert storage_errno(error) == number
    if number is not None:
        with pytest.raises(StorageError, match="x.pt could not be written, "), writing("x.pt"):
            raise error


def test_behind_an_error_that_it_caused():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("something else broke") from None
    except RuntimeError as error:
        assert storage_errno(error) == errno.ENOSPC


LIBRARIES = {
    "torch": "import torch\ndef run(path):\n    with atomic_write(path, 'wb') as s: torch.save(torch.zeros(100000), s)",
    "numpy": "import numpy\ndef run(path):\n    with atomic_write(path, 'wb') as s: numpy.save(s, numpy.zeros(100000))",
    "safetensors": "import torch\nfrom safetensors.torch import save_file\ndef run(path):\n"
    "    with atomic_folder(path, 'x') as f: save_file({'a': torch.zeros(100000)}, f / 'x')",
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_really(library, tmp_path):
    code = f"""
import resource, sys
from langsamp_plugin.atomic import atomic_folder, atomic_write
from langsamp_plugin.errors import StorageError
{LIBRARIES[library]}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    run(sys.argv[1])
except StorageError as error:
    print(error)
"""
    assert "/out could not be written, " in run("python", "-c", code, tmp_path / "out").splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_no_permission_is_not_damage(tmp_path, monkeypatch):
    """safetensors calls a file that it may not open missing or damaged."""
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, path)

    def refuse(name, mode):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(errors, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match="Permission denied"):
        read_safetensors(path)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyboardInterrupt(), "interrupted; run the same command again to resume"),
        (errors.InUseError("x is being written by process 1"), "x is being written by process 1"),
        (errors.StorageError(errno.EACCES, "x"), "x could not be written, choose a place that you may write"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x could not be written, free some space"),
        (ValueError("a fault of ours"), None),
    ],
)
def test_last_words_of_a_training(error, says):
    found = last_words(error)
    assert found is None if says is None else found.startswith(says)
