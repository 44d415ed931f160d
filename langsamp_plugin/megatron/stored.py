"""Reading and writing torch's distributed checkpoints as Megatron-Core does, without running code that they carry.

A checkpoint is a folder: ``.metadata`` (a pickle: which tensor is where), ``*.distcp`` (tensors, each as ``torch.save``
writes it), ``common.pt`` (what is not a tensor) and ``metadata.json`` (the format). Megatron and torch read the first
by ``pickle.load``, which runs whatever it asks for; here only the classes of :data:`ALLOWED` are built, and
:func:`check_stored` does so before Megatron may read a folder.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.loading import UNREADABLE, read_saved

METADATA, FORMAT, COMMON = ".metadata", "metadata.json", "common.pt"
LATEST = "latest_checkpointed_iteration.txt"
RELEASE = "release"
"""Megatron's name for the folder of weights that were converted and not trained there."""

_CLASSES = "torch.distributed.checkpoint.metadata"
_PLANS = "torch.distributed.checkpoint.planner"
ALLOWED = {
    *((_CLASSES, name) for name in (
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "TensorProperties", "ChunkStorageMetadata",
        "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    )),
    *((_PLANS, name) for name in ("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData", "BytesIOWriteData")),
    *(("torch.distributed.checkpoint.filesystem", name) for name in ("_StorageInfo", "_StoragePrefix")),
    ("torch", "Size"), ("torch", "device"), ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"), ("pathlib", "WindowsPath"), ("pathlib._local", "PosixPath"),
    ("collections", "OrderedDict"), ("builtins", "set"), ("builtins", "frozenset"),
    *(("torch", name) for name in (
        "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "strided",
        "float8_e4m3fn", "float8_e5m2",
    )),
}  # fmt: skip
"""Plain descriptions of tensors; none of them does anything when it is built."""


class _Descriptions(pickle.Unpickler):
    """Builds what describes tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


class Stored(NamedTuple):
    """A checkpoint's folder and what is in it.

    Args:
        path: the folder of one iteration.
        tensors: names of tensors and their descriptions.
        places: where each part of a tensor is stored.
    """

    path: Path
    tensors: dict[str, Any]
    places: dict[Any, Any]


def iteration_folder(path: PathLike) -> Path:
    """Return the newest iteration of a run's folder, or the folder itself where it is that of an iteration.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: the folder names something else as its newest iteration, or is in another form.
    """
    path = Path(path)
    if (path / METADATA).is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path} must be a checkpoint folder of Megatron-Core, but is missing or a file")
    if (path / LATEST).is_file():
        text = (path / LATEST).read_text(encoding="utf-8", errors="replace").strip()
        if text != RELEASE and not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise ValueError(f"{path / LATEST} must hold a number or the word release, but has {text[:40]!r}")
        folder = path / (RELEASE if text == RELEASE else f"iter_{int(text):07d}")
        if (folder / METADATA).is_file():
            return folder
        path = folder
    if list(path.glob("mp_rank_*")):
        raise ValueError(
            f"{path} must be a distributed checkpoint, but is of Megatron's older form with a folder per rank: save it "
            "with --ckpt-format torch_dist"
        )
    raise FileNotFoundError(f"{path / METADATA} is missing: the folder is not a distributed checkpoint")


def open_stored(path: PathLike) -> Stored:
    """Read which tensors a checkpoint has.

    Args:
        path: a run's folder, or that of one iteration.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, of another form, or carries code.
    """
    folder = iteration_folder(path)
    if (folder / FORMAT).is_file():
        try:
            form = json.loads((folder / FORMAT).read_text(encoding="utf-8"))
            backend = form["sharded_backend"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{folder / FORMAT} is damaged: {error}") from error
        if backend != "torch_dist":
            raise ValueError(
                f"{folder} must be of form torch_dist, but is {str(backend)[:40]!r}: save it with --ckpt-format "
                "torch_dist"
            )
    try:
        with open(folder / METADATA, "rb") as stream:
            metadata = _Descriptions(stream).load()
        tensors, places = metadata.state_dict_metadata, metadata.storage_data
        if not isinstance(tensors, dict) or not isinstance(places, dict):
            raise ValueError("it does not list tensors")
        for name in tensors:
            if not isinstance(name, str):
                raise ValueError(f"a tensor is named {name!r}")
        for info in places.values():
            _check_place(folder, info)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{folder / METADATA} is damaged, or carries objects that could run code, and was not loaded: {error}"
        ) from error
    except UNREADABLE as error:
        raise ValueError(f"{folder / METADATA} is damaged: {str(error) or type(error).__name__}") from error
    return Stored(folder, tensors, places)


def _check_place(folder: Path, info: Any) -> None:
    name = info.relative_path
    if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
        raise ValueError(f"it names the file {str(name)[:60]!r}, which is not in the folder")
    if getattr(info, "transform_descriptors", None):
        raise ValueError("its tensors are compressed, which is not supported")
    if not (type(info.offset) is type(info.length) is int and info.offset >= 0 and info.length >= 0):
        raise ValueError(f"a place in {name} is not a range of bytes")
    if info.offset + info.length > (folder / name).stat().st_size:
        raise ValueError(f"{name} was cut off")


def check_stored(path: PathLike) -> Path:
    """Check that nothing in a checkpoint could run code, so that Megatron's own reader may load it.

    Returns:
        The folder of the iteration.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, of another form, or carries code.
    """
    stored = open_stored(path)
    if (stored.path / COMMON).is_file():
        read_saved(stored.path / COMMON)
    for index, info in stored.places.items():
        if type(stored.tensors.get(index.fqn)).__name__ != "TensorStorageMetadata":
            _read_part(stored, info)
    return stored.path


def read_common(path: PathLike) -> dict[str, Any]:
    """Return what a checkpoint stores besides tensors.

    Raises:
        ValueError: the file is damaged or carries objects that could run code.
    """
    state = read_saved(iteration_folder(path) / COMMON)
    if not isinstance(state, dict):
        raise ValueError(f"{Path(path) / COMMON} must hold a dictionary, but holds a {type(state).__name__}")
    return state


def read_tensors(stored: Stored, wanted: Mapping[str, str]) -> dict[str, Tensor]:
    """Read tensors, put together from the parts that ranks have written.

    Args:
        stored: the checkpoint.
        wanted: names in the checkpoint, and those to return them by.

    Raises:
        ValueError: a part is missing, damaged, or of another shape than was announced.
    """
    parts: dict[str, list[tuple[Any, Any]]] = {name: [] for name in wanted}
    for index, info in stored.places.items():
        if index.fqn in parts:
            parts[index.fqn].append((index, info))
    found = {}
    for name, target in wanted.items():
        described = stored.tensors[name]
        out = torch.empty(described.size, dtype=described.properties.dtype)
        written = 0
        sizes = {tuple(chunk.offsets): tuple(chunk.sizes) for chunk in described.chunks}
        for index, info in parts[name]:
            part = _read_part(stored, info)
            offsets = tuple(index.offset) if index.offset is not None else (0,) * out.dim()
            if not isinstance(part, Tensor) or tuple(part.shape) != sizes.get(offsets) or part.dtype != out.dtype:
                raise ValueError(f"{stored.path}: the part of {name} at {offsets} is not what {METADATA} announces")
            place = tuple(slice(start, start + length) for start, length in zip(offsets, part.shape))
            if out[place].shape != part.shape:
                raise ValueError(f"{stored.path}: the part of {name} at {offsets} lies outside of the tensor")
            out[place] = part
            written += part.numel()
        if written != out.numel() or len(sizes) != len(parts[name]):
            raise ValueError(f"{stored.path}: {name} has {written:,} of {out.numel():,} numbers: a part is missing")
        found[target] = out
    return found


def _read_part(stored: Stored, info: Any) -> Any:
    path = stored.path / info.relative_path
    with open(path, "rb") as stream:
        stream.seek(info.offset)
        data = io.BytesIO(stream.read(info.length))
    try:
        if zipfile.is_zipfile(data):
            with zipfile.ZipFile(data) as archive:
                if archive.testzip() is not None:
                    raise ValueError("its checksums are wrong")
        data.seek(0)
        return torch.load(data, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is damaged, or carries objects that could run code, and was not loaded") from error
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged at byte {info.offset:,}: {(str(error).splitlines() or [''])[0]}"
        ) from error


def write_stored(folder: PathLike, tensors: Mapping[str, Any], common: dict[str, Any]) -> None:
    """Write a checkpoint of one iteration that Megatron-Core loads with any number of ranks.

    Args:
        folder: an empty folder.
        tensors: complete tensors, or ``[None]`` for a module's extra state, by the names of Megatron's checkpoints.
        common: what is not a tensor: plain values.
    """
    import torch.distributed.checkpoint as dcp

    folder = Path(folder)
    planner = dcp.DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it saves in a single process, as it is told to
        dcp.save(dict(tensors), storage_writer=dcp.FileSystemWriter(str(folder)), planner=planner, no_dist=True)
    form = {"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch",
            "common_backend_version": 1}  # fmt: skip
    torch.save(common, folder / COMMON)
    (folder / FORMAT).write_text(json.dumps(form), encoding="utf-8")


def mark_latest(run: PathLike, iteration: str) -> None:
    """Say which iteration of a run is the newest; a number, or the word ``release``."""
    with atomic_write(Path(run) / LATEST) as stream:
        stream.write(iteration)


def remove_older(run: PathLike, keep: int, newest: int) -> None:
    """Remove all but the newest checkpoints of a run.

    Args:
        run: its folder.
        keep: how many stay.
        newest: iteration that was saved last; later ones are of a run that was turned back, and stay.
    """
    before = sorted(folder for folder in _iterations(run) if int(folder.name[5:]) <= newest)
    for folder in before[:-keep]:
        shutil.rmtree(folder)


def _iterations(run: PathLike) -> Iterator[Path]:
    return (folder for folder in Path(run).glob("iter_*") if folder.name[5:].isdecimal())
