"""Reads and writes torch's distributed checkpoints in Megatron-Core's layout, without running code that they contain.

A checkpoint is a folder: ``.metadata`` (a pickle with the locations of tensors), ``*.distcp`` (tensors in the format of
``torch.save``), ``common.pt`` (everything else) and ``metadata.json`` (the format). Megatron and torch read the first
with ``pickle.load``, which can run arbitrary code. Here only the classes in :data:`ALLOWED` are constructed, and
:func:`check_stored` checks a folder before Megatron may read it.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.loading import UNREADABLE, read_saved
from langsamp_plugin.megatron.run_folder import METADATA, iteration_folder

FORMAT, COMMON = "metadata.json", "common.pt"

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
"""Plain descriptions of tensors; constructing them has no side effects."""


class _Descriptions(pickle.Unpickler):
    """Unpickler that constructs only descriptions of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


class Stored(NamedTuple):
    """A checkpoint's folder and its contents.

    Args:
        path: the folder of one iteration.
        tensors: names of tensors and their descriptions.
        places: location of each part of a tensor.
    """

    path: Path
    tensors: dict[str, Any]
    places: dict[Any, Any]


def open_stored(path: PathLike) -> Stored:
    """Read the list of tensors of a checkpoint.

    Args:
        path: a run's folder, or that of one iteration.

    Raises:
        FileNotFoundError: the checkpoint is missing.
        ValueError: it is damaged, has another format, or contains code.
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
                f"{folder} must have the format torch_dist, but has {str(backend)[:40]!r}: save it with --ckpt-format "
                "torch_dist"
            )
    try:
        with open(folder / METADATA, "rb") as stream:
            metadata = _Descriptions(stream).load()
        tensors, places = metadata.state_dict_metadata, metadata.storage_data
        if not isinstance(tensors, dict) or not isinstance(places, dict):
            raise ValueError("it does not list tensors")
        for index, info in places.items():
            if index.fqn not in tensors:
                raise ValueError(f"it has a location of {str(index.fqn)[:60]!r}, but no description")
            _check_place(folder, info)
        room = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        for name, described in tensors.items():
            if not isinstance(name, str):
                raise ValueError(f"a tensor is named {name!r}")
            if is_tensor(described):
                _check_described(name, described, room)
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
        raise ValueError(f"a location in {name} is not a range of bytes")
    if info.offset + info.length > (folder / name).stat().st_size:
        raise ValueError(f"{name} was cut off")


def _check_described(name: str, described: Any, room: int) -> None:
    """Raise ``ValueError`` unless a description is that of a tensor that fits into ``room`` bytes of the files."""
    size, dtype = described.size, described.properties.dtype
    if not _is_size(size) or not isinstance(dtype, torch.dtype):
        raise ValueError(f"{name} has no size or no dtype")
    if math.prod(size) * dtype.itemsize > room:
        raise ValueError(f"{name} of size {tuple(size)} is larger than all files together")
    for chunk in described.chunks:
        if not (
            _is_size(chunk.offsets) and _is_size(chunk.sizes) and len(chunk.offsets) == len(chunk.sizes) == len(size)
        ):
            raise ValueError(f"{name} has a part outside of its shape")


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(number) is int and number >= 0 for number in value)


def check_stored(path: PathLike) -> Path:
    """Check that nothing in a checkpoint can run code, so that Megatron's own reader may load it.

    Returns:
        The folder of the iteration.

    Raises:
        FileNotFoundError: the checkpoint is missing.
        ValueError: it is damaged, has another format, or contains code.
    """
    stored = open_stored(path)
    if (stored.path / COMMON).is_file():
        read_saved(stored.path / COMMON)
    for index, info in stored.places.items():
        if not is_tensor(stored.tensors.get(index.fqn)):
            _read_part(stored, info)
    return stored.path


def read_common(path: PathLike) -> dict[str, Any]:
    """Return the contents of a checkpoint that are not tensors.

    Raises:
        ValueError: the file is damaged or contains objects that could run code.
    """
    state = read_saved(iteration_folder(path) / COMMON)
    if not isinstance(state, dict):
        raise ValueError(f"{Path(path) / COMMON} must hold a dictionary, but holds a {type(state).__name__}")
    return state


def is_tensor(described: Any) -> bool:
    """Return whether a description is that of a tensor; otherwise it describes an object stored as bytes."""
    return type(described).__name__ == "TensorStorageMetadata"


def read_tensors(stored: Stored, wanted: Mapping[str, str]) -> dict[str, Tensor]:
    """Read tensors, assembled from the parts written by ranks.

    Args:
        stored: the checkpoint.
        wanted: names in the checkpoint, mapped to the names to return.

    Raises:
        ValueError: a part is missing or damaged, or its shape is not the announced one.
    """
    parts: dict[str, list[tuple[Any, Any]]] = {name: [] for name in wanted}
    for index, info in stored.places.items():
        if index.fqn in parts:
            parts[index.fqn].append((index, info))
    found = {}
    for name, target in wanted.items():
        described = stored.tensors[name]
        if not is_tensor(described):
            raise ValueError(f"{stored.path}: {name} must be a tensor, but is an object")
        out = torch.empty(described.size, dtype=described.properties.dtype)
        written = 0
        sizes = {tuple(chunk.offsets): tuple(chunk.sizes) for chunk in described.chunks}
        for index, info in parts[name]:
            part = _read_part(stored, info)
            offsets = tuple(index.offset) if index.offset is not None else (0,) * out.dim()
            if not isinstance(part, Tensor) or tuple(part.shape) != sizes.get(offsets) or part.dtype != out.dtype:
                raise ValueError(f"{stored.path}: the part of {name} at {offsets} does not match {METADATA}")
            place = tuple(slice(start, start + length) for start, length in zip(offsets, part.shape))
            if out[place].shape != part.shape:
                raise ValueError(f"{stored.path}: the part of {name} at {offsets} is outside of the tensor")
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
    """Write a checkpoint of one iteration that Megatron-Core can load with any number of ranks.

    Args:
        folder: an empty folder.
        tensors: complete tensors, or ``[None]`` for a module's extra state, by the names of Megatron's checkpoints.
        common: plain values that are not tensors.
    """
    import torch.distributed.checkpoint as dcp

    folder = Path(folder)
    # What dcp.save() does for a single process. Here it is step by step because torch 2.6 has no argument no_dist: with
    # it absent, a job with several ranks would wait in here until each of them wrote a checkpoint.
    planner = dcp.DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    writer = dcp.FileSystemWriter(str(folder))
    writer.reset(str(folder))
    planner.set_up_planner(dict(tensors), writer.storage_meta(), is_coordinator=True)
    writer.set_up_storage_writer(True)
    plan = writer.prepare_local_plan(planner.create_local_plan())
    plans, metadata = planner.create_global_plan([plan])
    (plan,) = writer.prepare_global_plan(plans)
    written = writer.write_data(planner.finish_plan(plan), planner)
    written.wait()
    writer.finish(metadata, [written.value()])
    form = {"sharded_backend": "torch_dist", "sharded_backend_version": 1, "common_backend": "torch",
            "common_backend_version": 1}  # fmt: skip
    torch.save(common, folder / COMMON)
    (folder / FORMAT).write_text(json.dumps(form), encoding="utf-8")
