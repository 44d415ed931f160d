"""Malformed text and tables: what a corpus, a vocabulary and a data folder are made of."""

import re
import shutil

from malformed_inputs import RUBBISH, Case, cut, put, remove, rename, shares

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
            ("not UTF-8", b"Guten Tag\nm\xfcde\n"),
            ("UTF-16", "Guten Tag\n".encode("utf-16")),
            ("an empty file", b""),
            ("a cut character", "Grüße aus Fürth, ü".encode()[:-1]),
            ("rubbish", RUBBISH),
            ("only blank lines", b"\n \n\t\n"),
            ("only NUL", bytes(3000)),
        ):
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
    yield from stored_text_cases()


def stored_text_cases():
    for setup in ("corpus", "check"):
        for name in (
            "srp_Latn.txt.xz",
            "deu_Latn.jsonl.gz",
            "srp_Cyrl.jsonl.bz2",
            "zho_Hani.txt.zst",
            "rus_Cyrl.parquet",
            "hin_Deva.arrow",
        ):
            for share in shares(name, 2 if setup == "corpus" else 1):
                yield Case(setup, f"{name} cut at {share:.1%}", name, cut(f"mixed/{name}", share))
            yield Case(setup, f"{name} full of rubbish", name, put(f"mixed/{name}", RUBBISH))
        for name in ("rus_Cyrl.parquet", "hin_Deva.arrow", "deu_Latn.jsonl.gz"):
            alone = ("--langs", name.partition(".")[0])
            yield Case(setup, f"{name} without the column", name, arguments=(*alone, "--column", "content"))
            yield Case(setup, f"{name} with numbers for text", name, arguments=(*alone, "--column", "id"))
        for what, content in (
            ("no field", '{"text": "a"}\n{"body": "b"}\n'),
            ("a list for text", '{"text": ["a"]}\n'),
            ("another kind", "[1, 2]\n"),
            ("a cut line", '{"text": "a"}\n{"text": "b'),
        ):
            yield Case(setup, f"JSON with {what}", "tam_Taml.jsonl", put("mixed/tam_Taml.jsonl", content))
    for what, content in (
        ("a broken line", '{"text": "a"}\n{"text": "b\n'),
        ("not UTF-8", b'{"text": "\xff"}\n'),
        ("deep nesting", "[" * 100_000 + "\n"),
    ):
        damage = put("mixed/tam_Taml.jsonl", content)
        yield Case("corpus", f"JSON with {what}", "tam_Taml.jsonl", damage, ("--strict",))
    yield Case("check", "rubbish for a language model", "lid.bin", put("lid.bin", RUBBISH), ("--lid", "in/lid.bin"))
    yield Case("check", "no language model", "none.bin", arguments=("--lid", "in/none.bin"))
    yield Case(
        "check", "a file for a folder to write to", "mixed", arguments=("--out", "in/mixed/eng_Latn.txt/out.tsv")
    )


def table_cases():
    for what, name, content in (
        ("a code twice", "languages.tsv", "eng\ndeu\neng\n"),
        ("an unknown code", "languages.tsv", "eng\nzzzz\n"),
        ("an empty line", "languages.tsv", "eng\n\ndeu\n"),
        ("a path", "languages.tsv", "eng\n../../evil\n"),
        ("the code of unknown", "languages.tsv", "eng\nund\n"),
        ("nothing in it", "scripts.tsv", ""),
        ("rubbish in it", "languages.tsv", RUBBISH),
        ("a byte order mark", "scripts.tsv", "\ufeffLatn\nCyrl\n"),
    ):
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
        ("other columns", "lang\tfamily\neng\tGermanic\n"),
        ("a line too short", "language\tfamily\neng\n"),
        ("two families of one", "language\tfamily\neng\tA\neng\tB\n"),
        ("nothing in it", ""),
        ("rubbish in it", RUBBISH),
    ):
        yield Case("analyze embeddings", f"families with {what}", "families.tsv", put("families.tsv", content))
    yield Case("analyze embeddings", "no families", "families.tsv", remove("families.tsv"))
