"""Malformed inputs for every command: each case is a command on valid inputs, and what is made wrong about one of them."""

import json
import random
import re
import shutil
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


# A whole file of a tag with its record, or whole pieces: what the next run goes on from.
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
NO_TAGS = ("eng_Latn_x", "en g_Latn", "zzz_Latn", "eng_Zzzx", "eng\n_Latn", "\x1b[2J_Latn", "-", "тест")
ESCAPES = ("../../evil_Latn", "/elsewhere/evil_Latn", "eng_Latn/../../evil", "zzz_Latn", "fin_Latn")
PARALLEL_TEXTS = ("tokenizer train", "tokenizer extend", "binarize")


def text_cases():
    for setup in ("corpus", "check", *PARALLEL_TEXTS):
        folder = "mixed" if setup in ("corpus", "check") else "corpus"
        for name in (
            () if setup == "check" else NO_TAGS if folder == "mixed" else (*NO_TAGS, "en", "eng_latn", "eng-Latn")
        ):
            yield Case(
                setup,
                f"a file called {name!r}",
                f"in/{folder}/",
                rename(f"{folder}/eng_Latn.txt", f"{folder}/{name}.txt"),
                # Without it, the file is left out and listed.
                arguments=("--strict",),
            )
        for tag in ESCAPES:
            yield Case(setup, f"--langs {tag}", re.escape(tag), arguments=("--langs", tag))
        yield Case(setup, "no folder", folder, lambda path, folder=folder: shutil.rmtree(path / folder))
    for setup in PARALLEL_TEXTS:
        for what, content in (
            ("not UTF-8", b"Guten Tag\nm\xfcde\n"), ("UTF-16", "Guten Tag\n".encode("utf-16")), ("an empty file", b""),
            ("a cut character", "Grüße aus Fürth, ü".encode()[:-1]), ("rubbish", RUBBISH), ("only blank lines", b"\n \n\t\n"),
            ("only NUL", bytes(3000)),
        ):  # fmt: skip
            yield Case(setup, what, "deu_Latn.txt", put("corpus/deu_Latn.txt", content), ("--strict",))
    for what, name, damage in (
        ("text that is not UTF-8", "eng_Latn.txt", put("mixed/eng_Latn.txt", b"m\xfcde\n")),
        ("text in UTF-16", "eng_Latn.txt", put("mixed/eng_Latn.txt", "a\nb\n".encode("utf-16"))),
        ("an empty text", "eng_Latn.txt", put("mixed/eng_Latn.txt", b"")),
        ("only blank lines", "eng_Latn.txt", put("mixed/eng_Latn.txt", b" \n\n\t\n")),
        ("only NUL", "eng_Latn.txt", put("mixed/eng_Latn.txt", bytes(100))),
        ("JSON that is text of a number", "tam_Taml.jsonl", put("mixed/tam_Taml.jsonl", "17\n")),
        ("JSON with a lone surrogate", "tam_Taml", put("mixed/tam_Taml.jsonl", '{"text": "a\\ud800"}\n')),
    ):
        yield Case("corpus", what, name, damage, ("--strict",))
    for setup in ("corpus", "check"):
        for name in ("srp_Latn.txt.xz", "deu_Latn.jsonl.gz", "srp_Cyrl.jsonl.bz2", "zho_Hani.txt.zst", "rus_Cyrl.parquet", "hin_Deva.arrow"):  # fmt: skip
            for share in shares(name, 2 if setup == "corpus" else 1):
                yield Case(setup, f"{name} cut at {share:.1%}", name, cut(f"mixed/{name}", share))
            yield Case(setup, f"{name} full of rubbish", name, put(f"mixed/{name}", RUBBISH))
        for name in ("rus_Cyrl.parquet", "hin_Deva.arrow", "deu_Latn.jsonl.gz"):
            alone = ("--langs", name.partition(".")[0])
            yield Case(setup, f"{name} without the column", name, arguments=(*alone, "--column", "content"))
            yield Case(setup, f"{name} with numbers for text", name, arguments=(*alone, "--column", "id"))
        for what, content in (
            ("no field", '{"text": "a"}\n{"body": "b"}\n'), ("a list for text", '{"text": ["a"]}\n'),
            ("another kind", "[1, 2]\n"), ("a cut line", '{"text": "a"}\n{"text": "b'),
        ):  # fmt: skip
            yield Case(setup, f"JSON with {what}", "tam_Taml.jsonl", put("mixed/tam_Taml.jsonl", content))
    for what, content in (
        ("a broken line", '{"text": "a"}\n{"text": "b\n'), ("not UTF-8", b'{"text": "\xff"}\n'),
        ("deep nesting", "[" * 100_000 + "\n"),
    ):  # fmt: skip
        damage = put("mixed/tam_Taml.jsonl", content)
        yield Case("corpus", f"JSON with {what}", "tam_Taml.jsonl", damage, ("--strict",))
    yield Case("check", "rubbish for a language model", "lid.bin", put("lid.bin", RUBBISH), ("--lid", "in/lid.bin"))
    yield Case("check", "no language model", "none.bin", arguments=("--lid", "in/none.bin"))
    yield Case(
        "check", "a file for a folder to write to", "mixed", arguments=("--out", "in/mixed/eng_Latn.txt/out.tsv")
    )


def table_cases():
    for what, name, content in (
        ("a code twice", "languages.tsv", "eng\ndeu\neng\n"), ("an unknown code", "languages.tsv", "eng\nzzzz\n"),
        ("an empty line", "languages.tsv", "eng\n\ndeu\n"), ("a path", "languages.tsv", "eng\n../../evil\n"),
        ("the code of unknown", "languages.tsv", "eng\nund\n"), ("nothing in it", "scripts.tsv", ""),
        ("rubbish in it", "languages.tsv", RUBBISH), ("a byte order mark", "scripts.tsv", "\ufeffLatn\nCyrl\n"),
    ):  # fmt: skip
        yield Case("binarize", f"a table with {what}", name, put(f"tables/{name}", content))
        yield Case("info data", f"a table with {what}", name, put(f"data-bin/{name}", content))
    yield Case(
        "init checkpoint", "a table with a code twice", "languages.tsv", put("tables/languages.tsv", "eng\neng\n")
    )
    yield Case("init checkpoint", "a table that lacks codes", "deu", put("tables/languages.tsv", "eng\n"))
    yield Case("binarize", "no table of scripts", "scripts.tsv", remove("tables/scripts.tsv"))
    yield Case("info data", "no table of scripts", "scripts.tsv", remove("data-bin/scripts.tsv"))
    yield Case(
        "info data", "a table that lacks a code", "data-bin/languages.tsv", put("data-bin/languages.tsv", "eng\ndeu\n")
    )
    for what, content in (
        ("other columns", "lang\tfamily\neng\tGermanic\n"), ("a line too short", "language\tfamily\neng\n"),
        ("two families of one", "language\tfamily\neng\tA\neng\tB\n"), ("nothing in it", ""), ("rubbish in it", RUBBISH),
    ):  # fmt: skip
        yield Case("analyze embeddings", f"families with {what}", "families.tsv", put("families.tsv", content))
    yield Case("analyze embeddings", "no families", "families.tsv", remove("families.tsv"))


def index_cases():
    index, buffer = "data-bin/deu_Latn/train.idx", "data-bin/deu_Latn/train.bin"
    for share in shares("index", 6):
        yield Case("info data", f"an index cut at {share:.1%}", "deu_Latn/train.idx", cut(index, share))
    for share in shares("buffer", 3):
        yield Case("info data", f"a buffer cut at {share:.1%}", "deu_Latn/train.bin", cut(buffer, share))
    # The layout of the header: 9 bytes magic, uint64 version, uint8 dtype code, uint64 number of sentences.
    for what, damage in (
        ("rubbish", put(index, RUBBISH)), ("another magic", pack(index, 0, "<4s", b"TNTI")), ("version 2", pack(index, 9, "<Q", 2)),
        ("dtype code 0", pack(index, 17, "<B", 0)), ("dtype code 6, a float", pack(index, 17, "<B", 6)),
        ("dtype code 255", pack(index, 17, "<B", 255)), ("dtype code 5, int64", pack(index, 17, "<B", 5)),
        ("2**62 sentences", pack(index, 18, "<Q", 2**62)), ("2**64 - 1 sentences", pack(index, 18, "<Q", 2**64 - 1)),
        ("no sentences", pack(index, 18, "<Q", 0)), ("a negative size", pack(index, 26, "<i", -5)),
        ("a huge size", pack(index, 30, "<i", 2**31 - 1)), ("a last size too large", pack(index, -8, "<q", 2**40)),
        ("a negative offset", pack(index, -16, "<q", -64)), ("a last offset that is negative", pack(index, -8, "<q", -64)),
    ):  # fmt: skip
        yield Case("info data", f"an index with {what}", "deu_Latn/train", damage)
    for place in random.Random("bytes").sample(range(9), 4):
        flip = change(index, lambda data, place=place: data.__setitem__(place, data[place] ^ 0x20))
        yield Case("info data", f"a flipped bit in byte {place} of an index", "deu_Latn/train.idx", flip)
        yield Case("analyze tags", f"a flipped bit in byte {place} of an index", "deu_Latn/valid.idx", change(
            index.replace("train", "valid"), lambda data, place=place: data.__setitem__(place, data[place] ^ 0x20)))  # fmt: skip
    yield Case("info data", "no index", "deu_Latn/train.idx", remove(index))
    yield Case("info data", "no buffer", "deu_Latn/train.bin", remove(buffer))
    yield Case("analyze tags", "no buffer", "deu_Latn/valid.bin", remove("data-bin/deu_Latn/valid.bin"))
    yield Case("analyze tags", "a buffer cut off", "deu_Latn/valid.bin", cut("data-bin/deu_Latn/valid.bin", 0.5))
    rubbish = change("data-bin/deu_Latn/valid.bin", lambda data: b"\xff" * len(data))
    yield Case("analyze tags", "a buffer with ids beyond the dictionary", "deu_Latn/valid.bin", rubbish)
    for name in ("../../evil_Latn", "deu_latn_x"):
        new = name.replace("../../", "..")
        yield Case("info data", f"a folder called {new}", new, rename("data-bin/deu_Latn", f"data-bin/{new}"))
    for setup in ("info data", "analyze tags", "binarize more"):
        for what, content in (
            ("that is not UTF-8", b"\xff 1\n"), ("with a line without count", "a 1\nb\n"), ("with a word for a count", "a b\n"),
            ("with a piece twice", "a 1\na 1\n"), ("with a blank line", "a 1\n\nb 1\n"), ("with nothing in it", ""),
        ):  # fmt: skip
            yield Case(setup, f"a dictionary {what}", "dict.txt", put("data-bin/dict.txt", content))
        yield Case(setup, "a dictionary cut off", "dict.txt", cut("data-bin/dict.txt", 0.6))
    for setup in ("info data", "analyze tags"):
        yield Case(setup, "no dictionary", "dict.txt", remove("data-bin/dict.txt"))
        for what, content in (("cut off", '{"types": 20'), ("a list", "[]"), ("without types", "{}"), ("not UTF-8", b"\xff"),
                              ("with a word for types", '{"types": "many"}')):  # fmt: skip
            yield Case(setup, f"statistics {what}", "deu_Latn", put("data-bin/deu_Latn/stats.json", content))
    for what, content in (("cut off", '{"finger'), ("a list", "[]"), ("without rows", '{"fingerprint": "x"}'), ("not UTF-8", b"\xff")):  # fmt: skip
        damage = put("data-bin/deu_Latn/stats.json", content)
        yield Case("binarize more", f"statistics of another language {what}", "deu_Latn/stats.json", damage)


def option_cases():
    for setup, *arguments in (
        ("corpus", "--workers", "0"), ("corpus", "--workers", "-3"), ("corpus", "--workers", "many"), ("corpus", "--out", "in/mixed"),
        ("check", "--min-script", "2"), ("check", "--max-bad", "-1"), ("check", "--max-characters", "0"),
        ("tokenizer train", "--vocab-size", "5"), ("tokenizer train", "--vocab-size", "99999999999999999999"),
        ("tokenizer train", "--alpha", "-1"), ("tokenizer train", "--alpha", "nan"), ("tokenizer train", "--alpha", "inf"),
        ("tokenizer train", "--coverage", "0.1"), ("tokenizer train", "--coverage", "nan"), ("tokenizer train", "--max-lines", "0"),
        ("tokenizer trim", "--min-count", "0"), ("tokenizer trim", "--min-count", "many"),
        ("pairs", "--layout", "nowhere"), ("pairs", "--held-out", "-1"), ("pairs", "--exclude", "nowhere"),
        ("tokenizer extend", "--vocab-size", "99999999999999999999"), ("tokenizer extend", "--alpha", "nan"),
        ("binarize", "--shard", "0/2"), ("binarize", "--shard", "3/2"), ("binarize", "--shard", "a/b"), ("binarize", "--shard", "²/3"),
        ("binarize", "--shard", "-1/2"), ("binarize", "--valid-lines", "-1"), ("binarize", "--tables", "nowhere"),
        ("binarize", "--valid", "nowhere"), ("binarize", "--spm", "nowhere.model"), ("binarize", "--workers", "0"),
        ("info data", "--alpha", "nan"), ("info data", "--alpha", "-1"), ("info data", "--alpha", "inf"), ("info data", "--alpha", "100000"),
        ("info data", "--sampling", "uniform"), ("info data", "--counts", "bytes"), ("info data", "--tokens-per-sample", "1"),
        ("info data", "--tokens-per-sample", "-512"), ("info data", "--tokens-per-sample", "many"),
        ("info data", "--scale", "0", "--sampling", "glot500"), ("info data", "--scale", "nan", "--sampling", "glot500"),
        ("info data", "--scale", "inf", "--sampling", "glot500"), ("info data", "--scale", "1e300", "--sampling", "glot500"),
        ("init checkpoint", "--new-pieces", "zeros"), ("init checkpoint", "--tables", "nowhere"), ("init checkpoint", "--spm", "nowhere"),
        ("export", "--half", "float8"), ("export", "--fold", "../../evil_Latn"), ("export", "--fold", "fin_Latn"), ("export", "--fold", "zz"),
        ("export", "--text", "nowhere"), ("import", "--text", "nowhere"), ("import", "--spm", "nowhere"),
        ("evaluate sr_bible", "--tasks", "sr_koran"), ("evaluate sr_bible", "--tasks", "../../sib200"), ("evaluate sr_bible", "--layer", "99"),
        ("evaluate sr_bible", "--layer", "-1"), ("evaluate sr_bible", "--layers", "1,x"), ("evaluate sr_bible", "--layers", "²"),
        ("evaluate sr_bible", "--langs", "../../evil_Latn"), ("evaluate sr_bible", "--langs", "fin_Latn"), ("evaluate sr_bible", "--limit", "-1"),
        ("evaluate sr_bible", "--name", "../../evil"), ("evaluate sr_bible", "--name", "/elsewhere/evil"), ("evaluate sr_bible", "--name", ".."), ("evaluate sr_bible", "--protocol", "ours"), ("evaluate sr_bible", "--precision", "int8"), ("evaluate sr_bible", "--device", "quantum"), ("evaluate sr_bible", "--languages", "nowhere.txt"), ("evaluate sr_bible", "--revision", "main"), ("report", "--baseline", "nobody"), ("report", "--metric", "sib200"), ("report", "--metric", "sib200=bleu"), ("report", "--metric", "pos=f1"),
        ("evaluate sr_bible", "--data", "nowhere"), ("evaluate sr_bible", "--min-pairs", "100000"),
        ("evaluate sib200", "--source", "fin_Latn"), ("evaluate sib200", "--source", "../../evil_Latn"), ("evaluate sib200", "--lr", "-1"),
        ("evaluate sib200", "--lr", "nan"), ("evaluate sib200", "--lr", "inf"), ("evaluate sib200", "--seeds", "-1"),
        ("evaluate sib200", "--seeds", "99999999999999999999"), ("evaluate sib200", "--seeds", "²"), ("evaluate sib200", "--epochs", "0"),
        ("report", "--groups", "nowhere.tsv"), ("analyze embeddings", "--neighbours", "0"), ("analyze embeddings", "--families", "nowhere"),
        ("analyze neutrality", "--layer", "99"), ("analyze neutrality", "--limit", "1"), ("analyze neutrality", "--limit", "-1"),
        ("analyze neutrality", "--langs", "../../evil_Latn,deu_Latn"), ("analyze neutrality", "--langs", "eng_Latn,deu_Latn"),
        ("analyze neutrality", "--langs", "eng_Latn,eng_Latn,eng_Latn"), ("analyze neutrality", "--baseline", "nowhere"),
        ("analyze sources", "--task", "sr_bible"), ("analyze sources", "--task", "../../x"), ("analyze sources", "--candidates", "fin_Latn"),
        ("analyze sources", "--candidates", "../../evil_Latn"), ("analyze sources", "--langs", "zz"),
        ("analyze tags", "--split", "nowhere"), ("analyze tags", "--split", "../../x"), ("analyze tags", "--data", "nowhere"),
    ):  # fmt: skip
        word = arguments[0].strip("-").partition("-")[0]
        yield Case(
            setup, " ".join(arguments), rf"--{word}|\b{word}|{re.escape(arguments[1])}", arguments=tuple(arguments)
        )
    for setup in ("user-dir", "doctor"):
        yield Case(setup, "an argument", "../../evil_Latn", arguments=("../../evil_Latn",))
        yield Case(setup, "an option", "--frob", arguments=("--frob",))
