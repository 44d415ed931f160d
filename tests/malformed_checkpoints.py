"""Malformed inputs of the kinds that hold a model or its results: checkpoints, folders, results."""

import io
import pickle
import random
import zipfile

import torch
from malformed_inputs import RUBBISH, Case, both, change, cut, put, shares
from support import Evil

EMBEDDING = "encoder.sentence_encoder.embed_tokens.weight"
FC1 = "encoder.sentence_encoder.layers.0.fc1.weight"
TABLE = "encoder.lang_embedding."
READERS = (
    "info checkpoint",
    "init checkpoint",
    "export",
    "evaluate checkpoint",
    "analyze embeddings of a checkpoint",
    "analyze neutrality of a checkpoint",
    "analyze sources of a checkpoint",
    "analyze tags",
)
"""A setup of every command that takes a checkpoint."""


def checkpoint(edit):
    """Load the checkpoint, edit it, and save it; once, as eight commands get it and start from the same one."""
    edited = []

    def damage(folder):
        if not edited:
            state = torch.load(folder / "last.pt", weights_only=True)
            torch.save(edit(state) or state, folder / "last.pt")
            edited.append((folder / "last.pt").read_bytes())
        (folder / "last.pt").write_bytes(edited[0])

    return damage


def weights(**changes):
    """Give weights of the checkpoint other values, ``None`` for none; a function is called with the old one."""

    def edit(state):
        for name, value in changes.items():
            name = {"embedding": EMBEDDING, "fc1": FC1, "table": f"{TABLE}weight", "codes": f"{TABLE}codes"}[name]
            if value is None:
                del state["model"][name]
            else:
                state["model"][name] = value(state["model"][name]) if callable(value) else value

    return checkpoint(edit)


def flip_in_record(number):
    """Flip a bit in what a record of the checkpoint holds; the bytes between records are only padding."""

    def edit(data):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = [record for record in archive.infolist() if record.file_size > 64]
            record = random.Random(number).choice(records) if number else archive.getinfo(records[0].filename)
            with archive.open(record) as stream:
                content = stream.read()
        place = data.index(content) + random.Random(number).randrange(len(content))
        data[place] ^= 1 << number % 8

    return change("last.pt", edit)


def damages():
    """Return what can be wrong about a checkpoint, for each command that reads one."""
    found = [
        ("nothing in it", put("last.pt", b"")),
        ("rubbish in it", put("last.pt", RUBBISH)),
        ("text in it", put("last.pt", "no model\n")),
        ("code in a bare pickle", put("last.pt", pickle.dumps(Evil()))),
        ("code in place of its options", checkpoint(lambda state: {**state, "args": Evil()})),
        ("code among its weights", checkpoint(lambda state: state["model"].update(evil=Evil()))),
        ("code in its optimizer", checkpoint(lambda state: {**state, "last_optimizer_state": {"state": [Evil()]}})),
        ("no model", checkpoint(lambda state: state.pop("model") and None)),
        ("a list for a model", checkpoint(lambda state: {**state, "model": [1]})),
        ("a list for everything", checkpoint(lambda state: [1, 2])),
        ("words for weights", weights(fc1="weights")),
        ("numbers for names", checkpoint(lambda state: state["model"].update({1: torch.zeros(1)}))),
        ("no embedding", weights(embedding=None)),
        ("an embedding of one dimension", weights(embedding=torch.zeros(5))),
        ("task state that is a list", checkpoint(lambda state: {**state, "task_state": [1]})),
        ("options that are a list", checkpoint(lambda state: {**state, "args": [1], "cfg": None})),
        ("weights of whole numbers", weights(fc1=lambda old: old.int())),
        ("codes that are not letters", weights(codes=lambda old: old + 2**30)),
        ("codes of one dimension", weights(codes=lambda old: old[0])),
        ("no codes", weights(codes=None)),
        ("more rows than codes", weights(table=lambda old: torch.cat([old, old]))),
        ("a table of another width", weights(table=lambda old: old[:, :-1])),
        ("a code twice", weights(codes=lambda old: old[:1].expand_as(old))),
        ("a layer of another shape", weights(fc1=lambda old: old[:, 1:])),
        ("no first layer", weights(fc1=None)),
    ]
    found += [(f"{share:.1%} of its bytes", cut("last.pt", share)) for share in shares("checkpoint", 2)]
    found += [(f"flipped bit {number}", flip_in_record(number)) for number in range(2)]
    return found


def resave(folder):  # the format before torch 1.6, which XLM-R was published in, and which has no checksums
    state = torch.load(folder / "last.pt", weights_only=True)
    torch.save(state, folder / "last.pt", _use_new_zipfile_serialization=False)


def checkpoint_cases():
    for what, damage in damages():
        for setup in READERS:
            yield Case(setup, f"a checkpoint with {what}", "last.pt", damage)
    for number in range(2, 12):
        yield Case("info checkpoint", f"a checkpoint with flipped bit {number}", "last.pt", flip_in_record(number))
    for share in shares("more", 6):
        yield Case("info checkpoint", f"a checkpoint with {share:.1%} of its bytes", "last.pt", cut("last.pt", share))
    for share in (0.01, 0.3, 0.99):
        yield Case(
            "info checkpoint",
            f"an old checkpoint with {share:.0%} of its bytes",
            "last.pt",
            both(resave, cut("last.pt", share)),
        )
    for setup in ("export", "analyze tags"):
        gone = checkpoint(lambda state: {**state, "args": None, "cfg": None})
        yield Case(setup, "a checkpoint without options", "last.pt", gone)
    other = checkpoint(
        lambda state: (
            setattr(state["args"], "task", "translation")
            if state["args"]
            else state["cfg"]["task"].update(_name="translation")
        )
    )
    yield Case("analyze tags", "a checkpoint of another task", "last.pt", other)
    for setup in ("analyze embeddings of a checkpoint", "info checkpoint"):
        for what, tags in (("paths", ["../../evil_Latn"]), ("numbers", [1, 2, 3]), ("a word", "eng_Latn")):
            edit = checkpoint(lambda state, tags=tags: state["task_state"].update(tags=tags))
            yield Case(setup, f"a checkpoint with {what} for tags", "last.pt", edit)
    for setup in ("export", "init checkpoint", "evaluate checkpoint", "binarize", "tokenizer extend"):
        for what, damage in sentencepiece_damages():
            yield Case(setup, f"a SentencePiece model {what}", "spm.model", damage)


def sentencepiece_damages():
    yield "of rubbish", put("spm.model", RUBBISH)
    yield "with nothing in it", put("spm.model", b"")
    yield "that is another protobuf", put("spm.model", b"\x0a\x05hello\x12\x03abc")
    yield "that is text", put("spm.model", "a\nb\n")
    for share in (0.03, 0.5, 0.97):
        yield f"cut at {share:.0%}", cut("spm.model", share)
    yield "cut between two pieces", change("spm.model", lambda data: data[: _end_of_piece(data, 300)])
    yield (
        "with a piece that is not UTF-8",
        change("spm.model", lambda data: data.replace("\u2581".encode(), b"\xff\xff\xff")),
    )


def _end_of_piece(data, count):
    """Return where a piece of a model ends: each is the byte 0x0a, its length, and so many bytes."""
    place = 0
    for _ in range(count):
        place += 2 + data[place + 1]
    return place
