"""Malformed inputs: a case is a command on valid inputs, and what is made wrong about one of them."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Setup(NamedTuple):
    """A command on valid inputs, with which it succeeds.

    Args:
        command: its words.
        inputs: what of the gallery is copied into ``in``.
        arguments: the rest of the command line.
        left: a regular expression of what a command that resumes may leave in ``out`` when it fails.
    """

    command: str
    inputs: tuple[str, ...]
    arguments: str
    left: str = "nothing"


# A complete file of a tag with its record, or complete pieces, from which the next run resumes.
PIECES = (
    r"out/(\.lock|\w+/\.pieces-\w+/\d+\.(json|(train|valid)\.(bin|sizes))|\w+/(stats\.json|(train|valid)\.(bin|idx)))"
)
RETRIEVAL = "--data in/eval --out out --min-pairs 2 --limit 20"
TUNING = "--data in/eval --out out --epochs 1 --seeds 1 --limit 16 --max-length 40"
CACHE = r"out/\.cache/(exported|data|features|cut)/.*"

SETUPS = {
    "corpus": Setup("corpus", ("mixed",), "in/mixed --out out", r"out/(\w+\.txt|\.finished/\w+\.json)"),
    "check": Setup("check", ("mixed",), "in/mixed --out out.tsv"),
    "tokenizer train": Setup("tokenizer train", ("corpus",), "in/corpus --vocab-size 300 --out out/spm.model"),
    "tokenizer trim": Setup("tokenizer trim", ("spm.model", "corpus"), "in/spm.model in/corpus --out out/small.model"),
    "pairs": Setup("pairs", ("eval",), "in/eval/sr_bible --out out"),
    "tokenizer extend": Setup(
        "tokenizer extend", ("spm.model", "corpus"), "in/spm.model in/corpus --vocab-size 300 --out out/spm.model"
    ),
    "binarize": Setup(
        "binarize",
        ("spm.model", "corpus", "tables"),
        "in/corpus --spm in/spm.model --tables in/tables --out out",
        PIECES,
    ),
    "binarize more": Setup(
        "binarize", ("spm.model", "more", "data-bin"), "in/more --spm in/spm.model --out in/data-bin"
    ),
    "info data": Setup("info", ("data-bin",), "in/data-bin"),
    "info checkpoint": Setup("info", ("last.pt",), "in/last.pt"),
    "info folder": Setup("info", ("hf",), "in/hf"),
    "init checkpoint": Setup(
        "init",
        ("last.pt", "spm.model", "tables"),
        "in/last.pt --spm in/spm.model --old-spm in/spm.model --tables in/tables --out out/start.pt",
    ),
    "init folder": Setup("init", ("hf",), "in/hf --out out/start.pt"),
    "import": Setup("import", ("hf",), "in/hf --out out/model.pt"),
    "export": Setup("export", ("last.pt", "spm.model"), "in/last.pt --spm in/spm.model --out out"),
    "evaluate sr_bible": Setup("evaluate", ("hf", "eval"), f"in/hf --tasks sr_bible {RETRIEVAL}", CACHE),
    "evaluate sr_tatoeba": Setup("evaluate", ("hf", "eval"), f"in/hf --tasks sr_tatoeba {RETRIEVAL}", CACHE),
    "evaluate checkpoint": Setup(
        "evaluate",
        ("last.pt", "spm.model", "eval"),
        f"in/last.pt --spm in/spm.model --tasks sr_bible {RETRIEVAL}",
        CACHE,
    ),
    "evaluate sib200": Setup("evaluate", ("hf", "eval"), f"in/hf --tasks sib200 {TUNING}", CACHE),
    "evaluate pos": Setup("evaluate", ("hf", "eval"), f"in/hf --tasks pos {TUNING}", CACHE),
    "report": Setup("report", ("results", "groups.tsv"), "in/results --groups in/groups.tsv --out out"),
    "analyze embeddings": Setup(
        "analyze embeddings", ("hf", "families.tsv"), "in/hf --families in/families.tsv --out out"
    ),
    "analyze embeddings of a checkpoint": Setup("analyze embeddings", ("last.pt",), "in/last.pt --out out"),
    "analyze neutrality": Setup(
        "analyze neutrality",
        ("hf", "parallel"),
        "in/hf --data in/parallel --langs eng_Latn,deu_Latn,rus_Cyrl --limit 20 --out out",
        CACHE,
    ),
    "analyze neutrality of a checkpoint": Setup(
        "analyze neutrality",
        ("last.pt", "parallel"),
        "in/last.pt --data in/parallel --langs eng_Latn,deu_Latn,rus_Cyrl --limit 20 --out out",
        CACHE,
    ),
    "analyze sources": Setup("analyze sources", ("hf", "eval"), "in/hf --task sib200 --data in/eval --out out", CACHE),
    "analyze sources of a checkpoint": Setup(
        "analyze sources", ("last.pt", "eval"), "in/last.pt --task sib200 --data in/eval --out out", CACHE
    ),
    "analyze tags": Setup("analyze tags", ("last.pt", "data-bin"), "in/last.pt --data in/data-bin --out out.json"),
    "user-dir": Setup("user-dir", (), ""),
    "doctor": Setup("doctor", (), ""),
}


class Case(NamedTuple):
    """One malformed input.

    Args:
        setup: a key of :data:`SETUPS`.
        what: what is wrong, for the name of the test.
        names: a regular expression of what the error must name: a file, an option, a code.
        damage: is called with the folder of inputs.
        arguments: go behind those of the setup, and so in their place.
    """

    setup: str
    what: str
    names: str
    damage: Callable[[Path], object] = lambda folder: None
    arguments: tuple[str, ...] = ()


def put(name: str, content) -> Callable[[Path], object]:
    """Write a file; a text as UTF-8."""

    def damage(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return damage


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def rename(name: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).rename(folder / new)


def change(name: str, edit: Callable[[bytearray], object]) -> Callable[[Path], object]:
    """Edit a file's bytes in place; what the function returns, if anything, is written instead."""

    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        (folder / name).write_bytes(edit(data) or data)

    return damage


def both(first: Callable[[Path], object], second: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: (first(folder), second(folder))


def cut(name: str, share: float) -> Callable[[Path], object]:
    return change(name, lambda data: data[: max(1, int(len(data) * share))])


def pack(name: str, offset: int, layout: str, *values) -> Callable[[Path], object]:
    return change(
        name, lambda data: struct.pack_into(layout, data, offset if offset >= 0 else len(data) + offset, *values)
    )


def edit_json(name: str, **changes) -> Callable[[Path], object]:
    """Change fields of a JSON file; ``None`` removes one."""

    def edit(data):
        fields = {**json.loads(data), **changes}
        return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()

    return change(name, edit)


def shares(name: str, count: int) -> list[float]:
    """Return places to cut at, the same in each run."""
    generator = random.Random(name)
    return [round(generator.uniform(0.02, 0.98), 3) for _ in range(count)]


RUBBISH = random.Random(0).randbytes(3000)
