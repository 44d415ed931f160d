"""Checks whether a machine has what training and evaluation need, and prints how to install what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Optional

# The extra that installs each optional package.
EXTRAS = {
    "gensim": "data",
    **dict.fromkeys(("transformers", "safetensors", "tokenizers", "google.protobuf"), "hf"),
    **dict.fromkeys(("sklearn", "scipy", "seqeval"), "eval"),
    **dict.fromkeys(("matplotlib", "textalloc", "umap"), "analysis"),
    "megatron": "megatron",
    **dict.fromkeys(("lxml", "uroman"), "pairs"),
    **dict.fromkeys(("django", "polib", "tensorboard"), "demo"),
}

DISTRIBUTIONS = {
    "sklearn": "scikit-learn", "umap": "umap-learn", "megatron": "megatron-core", "django": "Django",
    "google.protobuf": "protobuf",
}  # fmt: skip
"""Distribution names that differ from the import name; metadata has this mapping only from Python 3.11 on."""

FAIRSEQ = (
    "Python 3.9 or 3.10: pip install fairseq==0.12.2 with pip < 24.1; Python 3.11 or 3.12: pip install --no-deps "
    "ve-fairseq==0.12.3, then its dependencies as in scripts/install.sh"
)

PYTHON = ((3, 9), (3, 12))
"""The oldest and the newest Python versions with builds of fairseq."""

FILES = 1024
"""Minimum limit of open files: a data set of many languages keeps up to 512 files open, in addition to all others."""


class CheckResult(NamedTuple):
    """One line of the report.

    Args:
        state: ``ok``, ``note`` (works with a limitation), or ``missing`` (training with fairseq does not run).
        text: what was found.
        remedy: what to do, or empty.
    """

    state: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.text}" + (f"\n{'':<8}   {self.remedy}" if self.remedy else "")


def examine() -> Iterator[CheckResult]:
    """Yield findings, prerequisites of others first."""
    yield _python()
    torch = _imported("torch")
    yield from _torch(torch)
    yield from _fairseq()
    yield _apex()
    yield from _torchaudio()
    for extra in dict.fromkeys(EXTRAS.values()):
        yield _extra(extra)
    yield from _machine()


def _python() -> CheckResult:
    text = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    if PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
        return CheckResult("ok", text)
    return CheckResult(
        "missing", text, "fairseq has builds for Python 3.9 to 3.12: create an environment with one of these"
    )


def _torch(torch: Any) -> Iterator[CheckResult]:
    if isinstance(torch, Exception):
        yield CheckResult(
            "missing", f"torch: {_line(torch)}", "https://pytorch.org lists the command for your CUDA version"
        )
        return
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    old = release < (2, 6)
    yield CheckResult(
        "missing" if old else "ok", f"torch {torch.__version__}", "2.6 is needed: pip install -U torch" if old else ""
    )
    if not torch.cuda.is_available():
        built = torch.version.cuda or getattr(torch.version, "hip", None)
        yield CheckResult(
            "note",
            f"no GPU ({f'torch is built for CUDA {built}, but finds none' if built else 'torch is a CPU build'})",
            "nvidia-smi shows whether the driver finds one" if built else "train with --cpu; --fp16 needs a GPU",
        )
        return
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        precision = "bf16 and fp16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16, no bf16"
        yield CheckResult("ok", f"GPU {number}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {precision}")
    if torch.cuda.device_count() > 1 and not torch.distributed.is_nccl_available():
        yield CheckResult("note", "torch has no NCCL", "training on several GPUs would use gloo, which is slow")


def _fairseq() -> Iterator[CheckResult]:
    fairseq = _imported("fairseq")
    if isinstance(fairseq, Exception):
        installed = _versions("fairseq", "ve-fairseq", "fairseq-fixed")
        yield CheckResult("missing", f"fairseq{f' ({installed})' if installed else ''}: {_line(fairseq)}", FAIRSEQ)
        return
    yield CheckResult("ok", f"fairseq from {_versions('fairseq', 've-fairseq', 'fairseq-fixed') or 'a source folder'}")
    yield from _failing(
        "fairseq.data.data_utils_fast",
        "fairseq's compiled extensions do not load",
        "in its source folder: python setup.py build_ext --inplace (padded batches, break mode complete, need them)",
    )
    try:
        from fairseq.tasks import TASK_REGISTRY

        import langsamp_plugin

        langsamp_plugin.register()
        there = "langsamp_masked_lm" in TASK_REGISTRY
    except Exception as error:  # an unusual fairseq can raise anything; report it
        yield CheckResult("missing", f"the plugin does not load: {_line(error)}", "report it, with this output")
        return
    yield CheckResult(
        "ok" if there else "missing", f"plugin at {Path(langsamp_plugin.__file__).parent}, for --user-dir"
    )


def _apex() -> CheckResult:
    # Inspect it without importing: the wrong one is an unrelated web package.
    spec = importlib.util.find_spec("apex")
    if spec is None:
        return CheckResult("ok", "no Apex; not needed (--optimizer fused_adamw)")
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not any((place / "optimizers").is_dir() or (place / "multi_tensor_apply").is_dir() for place in places):
        return CheckResult("note", "the installed package apex is not NVIDIA's", "pip uninstall apex; it is not needed")
    kernels = importlib.util.find_spec("amp_C") is not None
    return CheckResult("ok", f"NVIDIA's Apex, {'with' if kernels else 'without'} its CUDA kernels; it is not needed")


def _torchaudio() -> Iterator[CheckResult]:
    if importlib.util.find_spec("torchaudio") is not None:
        yield from _failing(
            "torchaudio",
            "torchaudio does not load, and transformers may fail with it",
            "pip uninstall torchaudio; it is not needed for text",
        )


def _extra(extra: str) -> CheckResult:
    packages = [package for package, its in EXTRAS.items() if its == extra]
    missing = [package for package in packages if not _installed(package)]
    if missing:
        return CheckResult(
            "note", f"extra {extra}: without {', '.join(missing)}", f"pip install 'langsamp-plugin[{extra}]'"
        )
    distributions = [DISTRIBUTIONS.get(package, package) for package in packages]
    text = f"extra {extra}: {_versions(*distributions)}"
    old = [found for found in outdated() if found.name in distributions]
    if old:
        return CheckResult("note", text, "; ".join(f"{found.wanted} is needed: {found.remedy}" for found in old))
    return CheckResult("ok", text)


class Outdated(NamedTuple):
    """An installed package that is older than the plugin requires.

    Args:
        name: the distribution.
        installed, wanted: versions.
    """

    name: str
    installed: str
    wanted: str

    @property
    def remedy(self) -> str:
        """The command that updates it."""
        return f"pip install -U '{self.name}>={self.wanted}'"


def outdated() -> list[Outdated]:
    """Return installed packages that are too old; pip installs such an environment without an error.

    Without the plugin's metadata (a source tree that is only on the path) nothing is known.
    """
    try:
        requirements = metadata.requires("langsamp-plugin") or []
    except metadata.PackageNotFoundError:
        return []
    found = {}
    for requirement in requirements:
        asked = re.match(r"([\w.-]+)(?:\[.*?\])?\s*\(?>=([\d.]+)", requirement)
        installed = asked and _version(asked[1])
        if asked and installed and _release(installed) < _release(asked[2]):
            found[asked[1]] = Outdated(asked[1], installed, asked[2])
    return list(found.values())


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; what follows them does not count."""
    numbers = re.match(r"[\d.]*\d", version)
    return tuple(int(part) for part in numbers[0].split(".") if part) if numbers else ()


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in is missing
        return False


def _machine() -> Iterator[CheckResult]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield CheckResult("ok", f"{cores} CPU cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}")
    try:
        import resource
    except ImportError:  # Windows
        return
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= files < FILES:
        yield CheckResult("note", f"a process may open only {files} files", f"ulimit -n {FILES}, or more")


def _imported(name: str) -> Any:
    """Return a module, or the exception that its import raised."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken package can raise anything; report it
        return error


def _failing(name: str, text: str, remedy: str) -> Iterator[CheckResult]:
    module = _imported(name)
    if isinstance(module, Exception):
        yield CheckResult("note", f"{text}: {_line(module)}", remedy)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _version(name: str) -> Optional[str]:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions(*names: str) -> Optional[str]:
    return ", ".join(f"{name} {version}" for name in names if (version := _version(name))) or None
