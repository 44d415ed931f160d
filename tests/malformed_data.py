"""Malformed data folders: indexes, buffers, dictionaries, statistics."""

import random

from malformed_inputs import RUBBISH, Case, change, cut, pack, put, remove, rename, shares


def index_cases():
    index, buffer = "data-bin/deu_Latn/train.idx", "data-bin/deu_Latn/train.bin"
    for share in shares("index", 6):
        yield Case("info data", f"an index cut at {share:.1%}", "deu_Latn/train.idx", cut(index, share))
    for share in shares("buffer", 3):
        yield Case("info data", f"a buffer cut at {share:.1%}", "deu_Latn/train.bin", cut(buffer, share))
    # The layout of the header: 9 bytes magic, uint64 version, uint8 dtype code, uint64 number of sentences.
    for what, damage in (
        ("rubbish", put(index, RUBBISH)),
        ("another magic", pack(index, 0, "<4s", b"TNTI")),
        ("version 2", pack(index, 9, "<Q", 2)),
        ("dtype code 0", pack(index, 17, "<B", 0)),
        ("dtype code 6, a float", pack(index, 17, "<B", 6)),
        ("dtype code 255", pack(index, 17, "<B", 255)),
        ("dtype code 5, int64", pack(index, 17, "<B", 5)),
        ("2**62 sentences", pack(index, 18, "<Q", 2**62)),
        ("2**64 - 1 sentences", pack(index, 18, "<Q", 2**64 - 1)),
        ("no sentences", pack(index, 18, "<Q", 0)),
        ("a negative size", pack(index, 26, "<i", -5)),
        ("a huge size", pack(index, 30, "<i", 2**31 - 1)),
        ("a last size too large", pack(index, -8, "<q", 2**40)),
        ("a negative offset", pack(index, -16, "<q", -64)),
        ("a last offset that is negative", pack(index, -8, "<q", -64)),
    ):
        yield Case("info data", f"an index with {what}", "deu_Latn/train", damage)
    for place in random.Random("bytes").sample(range(9), 4):
        flip = change(index, lambda data, place=place: data.__setitem__(place, data[place] ^ 0x20))
        yield Case("info data", f"a flipped bit in byte {place} of an index", "deu_Latn/train.idx", flip)
        yield Case(
            "analyze tags",
            f"a flipped bit in byte {place} of an index",
            "deu_Latn/valid.idx",
            change(
                index.replace("train", "valid"), lambda data, place=place: data.__setitem__(place, data[place] ^ 0x20)
            ),
        )
    yield Case("info data", "no index", "deu_Latn/train.idx", remove(index))
    yield Case("info data", "no buffer", "deu_Latn/train.bin", remove(buffer))
    yield Case("analyze tags", "no buffer", "deu_Latn/valid.bin", remove("data-bin/deu_Latn/valid.bin"))
    yield Case("analyze tags", "a buffer cut off", "deu_Latn/valid.bin", cut("data-bin/deu_Latn/valid.bin", 0.5))
    rubbish = change("data-bin/deu_Latn/valid.bin", lambda data: b"\xff" * len(data))
    yield Case("analyze tags", "a buffer with ids beyond the dictionary", "deu_Latn/valid.bin", rubbish)
    for name in ("../../evil_Latn", "deu_latn_x"):
        new = name.replace("../../", "..")
        yield Case("info data", f"a folder called {new}", new, rename("data-bin/deu_Latn", f"data-bin/{new}"))
    yield from dictionary_cases()


def dictionary_cases():
    for setup in ("info data", "analyze tags", "binarize more"):
        for what, content in (
            ("that is not UTF-8", b"\xff 1\n"),
            ("with a line without count", "a 1\nb\n"),
            ("with a word for a count", "a b\n"),
            ("with a piece twice", "a 1\na 1\n"),
            ("with a blank line", "a 1\n\nb 1\n"),
            ("with nothing in it", ""),
        ):
            yield Case(setup, f"a dictionary {what}", "dict.txt", put("data-bin/dict.txt", content))
        yield Case(setup, "a dictionary cut off", "dict.txt", cut("data-bin/dict.txt", 0.6))
    for setup in ("info data", "analyze tags"):
        yield Case(setup, "no dictionary", "dict.txt", remove("data-bin/dict.txt"))
        for what, content in (
            ("cut off", '{"types": 20'),
            ("a list", "[]"),
            ("without types", "{}"),
            ("not UTF-8", b"\xff"),
            ("with a word for types", '{"types": "many"}'),
        ):
            yield Case(setup, f"statistics {what}", "deu_Latn", put("data-bin/deu_Latn/stats.json", content))
    for what, content in (
        ("cut off", '{"finger'),
        ("a list", "[]"),
        ("without rows", '{"fingerprint": "x"}'),
        ("not UTF-8", b"\xff"),
    ):
        damage = put("data-bin/deu_Latn/stats.json", content)
        yield Case("binarize more", f"statistics of another language {what}", "deu_Latn/stats.json", damage)
