"""Malformed inputs of the kinds that hold a model or what came out of one: checkpoints, folders, results."""

import io
import json
import pickle
import random
import shutil
import struct
import tarfile
import zipfile

import torch
from malformed_inputs import RUBBISH, Case, both, change, cut, edit_json, put, remove, shares
from support import Evil

EMBEDDING = "encoder.sentence_encoder.embed_tokens.weight"
FC1 = "encoder.sentence_encoder.layers.0.fc1.weight"
TABLE = "encoder.lang_embedding."
READERS = (
    "info checkpoint", "init checkpoint", "export", "evaluate checkpoint", "analyze embeddings of a checkpoint",
    "analyze neutrality of a checkpoint", "analyze sources of a checkpoint", "analyze tags",
)  # fmt: skip
"""A setup of every command that takes a checkpoint."""


def checkpoint(edit):
    """Load the checkpoint, edit it, and save it."""

    def damage(folder):
        state = torch.load(folder / "last.pt", weights_only=True)
        torch.save(edit(state) or state, folder / "last.pt")

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
    """Flip a bit in what a record of the checkpoint holds; what lies between records is only padding."""

    def edit(data):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = [record for record in archive.infolist() if record.file_size > 64]
            record = random.Random(number).choice(records) if number else archive.getinfo(records[0].filename)
            with archive.open(record) as stream:
                content = stream.read()
        place = data.index(content) + random.Random(number).randrange(len(content))
        data[place] ^= 1 << number % 8

    return change("last.pt", edit)


def checkpoint_cases():
    def resave(folder):  # the format before torch 1.6, which XLM-R was published in, and which has no checksums
        state = torch.load(folder / "last.pt", weights_only=True)
        torch.save(state, folder / "last.pt", _use_new_zipfile_serialization=False)

    everywhere = [
        ("nothing in it", put("last.pt", b"")), ("rubbish in it", put("last.pt", RUBBISH)), ("text in it", put("last.pt", "no model\n")),
        ("code in a bare pickle", put("last.pt", pickle.dumps(Evil()))),
        ("code in place of its options", checkpoint(lambda state: {**state, "args": Evil()})),
        ("code among its weights", checkpoint(lambda state: state["model"].update(evil=Evil()))),
        ("code in its optimizer", checkpoint(lambda state: {**state, "last_optimizer_state": {"state": [Evil()]}})),
        ("no model", checkpoint(lambda state: state.pop("model") and None)), ("a list for a model", checkpoint(lambda state: {**state, "model": [1]})),
        ("a list for everything", checkpoint(lambda state: [1, 2])), ("words for weights", weights(fc1="weights")),
        ("numbers for names", checkpoint(lambda state: state["model"].update({1: torch.zeros(1)}))),
        ("no embedding", weights(embedding=None)), ("an embedding of one dimension", weights(embedding=torch.zeros(5))),
        ("task state that is a list", checkpoint(lambda state: {**state, "task_state": [1]})),
        ("options that are a list", checkpoint(lambda state: {**state, "args": [1], "cfg": None})),
        ("weights of whole numbers", weights(fc1=lambda old: old.int())),
        ("codes that are no letters", weights(codes=lambda old: old + 2**30)), ("codes of one dimension", weights(codes=lambda old: old[0])),
        ("no codes", weights(codes=None)), ("more rows than codes", weights(table=lambda old: torch.cat([old, old]))),
        ("a table of another width", weights(table=lambda old: old[:, :-1])), ("a code twice", weights(codes=lambda old: old[:1].expand_as(old))),
        ("a layer of another shape", weights(fc1=lambda old: old[:, 1:])), ("no first layer", weights(fc1=None)),
    ]  # fmt: skip
    everywhere += [(f"{share:.1%} of its bytes", cut("last.pt", share)) for share in shares("checkpoint", 2)]
    everywhere += [(f"flipped bit {number}", flip_in_record(number)) for number in range(2)]
    for what, damage in everywhere:
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
    other = checkpoint(lambda state: setattr(state["args"], "task", "translation") if state["args"] else state["cfg"]["task"].update(_name="translation"))  # fmt: skip
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


def tensors(edit, name="model.safetensors"):
    """Edit the tensors of a file of the folder."""

    def damage(folder):
        from safetensors.torch import load_file, save_file

        found = {key: tensor.clone() for key, tensor in load_file(folder / "hf" / name).items()}
        edit(found)
        save_file(found, folder / "hf" / name, {"format": "pt"})

    return damage


def folder_cases():
    def as_pickle(content):
        def damage(folder):
            (folder / "hf" / "model.safetensors").unlink()
            torch.save(content, folder / "hf" / "pytorch_model.bin")

        return damage

    fc1, word = "roberta.encoder.layer.1.intermediate.dense.weight", "roberta.embeddings.word_embeddings.weight"
    config, model = "hf/config.json", "hf/model.safetensors"
    readers = ("import", "init folder", "info folder", "evaluate sr_bible", "analyze neutrality")
    for setup in readers:
        for what, damage in (
            ("missing", remove(config)), ("cut off", cut(config, 0.5)), ("a list", put(config, "[]")), ("rubbish", put(config, RUBBISH)),
            ("a word for its width", edit_json(config, hidden_size="wide")), ("a negative width", edit_json(config, hidden_size=-32)),
            ("no width", edit_json(config, hidden_size=None)), ("a list for its layers", edit_json(config, num_hidden_layers=[2])),
            ("10**12 layers", edit_json(config, num_hidden_layers=10**12)), ("10**15 words", edit_json(config, vocab_size=10**15)),
            ("a layer too many", edit_json(config, num_hidden_layers=3)), ("another width", edit_json(config, hidden_size=64)),
            ("three heads", edit_json(config, num_attention_heads=3)), ("no positions", edit_json(config, max_position_embeddings=0)),
            ("a word for epsilon", edit_json(config, layer_norm_eps="small")),
        ):  # fmt: skip
            if not (setup == "info folder" and what == "missing"):  # which is then no folder of a model at all
                yield Case(setup, f"a configuration: {what}", "in/hf", damage)
        for what, damage in (
            ("cut off", cut(model, 0.7)), ("cut in its header", cut(model, 0.001)), ("rubbish", put(model, RUBBISH)), ("nothing", put(model, b"")),
            ("a huge header", change(model, lambda data: struct.pack("<Q", 2**60) + data[8:])),
            ("a header that is no JSON", change(model, lambda data: data[:8] + b"x" * 8 + data[16:])),
            ("a layer missing", tensors(lambda found: found.pop(fc1))), ("no embedding", tensors(lambda found: found.pop(word))),
            ("another shape", tensors(lambda found: found.update({fc1: found[fc1][:, 1:].contiguous()}))),
            ("an embedding with rows missing", tensors(lambda found: found.update({word: found[word][:-5].contiguous()}))),
            ("code in pytorch_model.bin only", as_pickle({word: torch.zeros(2), "evil": Evil()})),
        ):  # fmt: skip
            if setup != "info folder" or "code" not in what:  # which says that there is a pickle, and leaves it closed
                yield Case(setup, f"weights: {what}", "in/hf", damage)
        code = as_pickle({word: torch.zeros(2), "evil": Evil()})
        if setup in ("import", "init folder"):
            yield Case(setup, "code in pytorch_model.bin, allowed", "pytorch_model.bin", code, ("--allow-pickle",))
    for setup in ("import", "init folder"):
        yield Case(setup, "no SentencePiece model", "sentencepiece.bpe.model", remove("hf/sentencepiece.bpe.model"))
        yield Case(
            setup, "a cut SentencePiece model", "sentencepiece.bpe.model", cut("hf/sentencepiece.bpe.model", 0.5)
        )
        yield Case(setup, "another kind of model", "model_type", edit_json(config, model_type="bert"))
        away = both(remove(model), put(f"{model}.index.json", '{"weight_map": {"a": "../../evil.safetensors"}}'))
        yield Case(setup, "an index that leaves the folder", "evil.safetensors", away)
    for setup in ("evaluate sr_bible", "analyze neutrality"):
        for what, content in (("cut off", '{"version": "1.0", "mod'), ("another kind", "[]"), ("rubbish", RUBBISH)):
            yield Case(setup, f"a tokenizer: {what}", "in/hf", put("hf/tokenizer.json", content))
        yield Case(setup, "code of its own", "in/hf", edit_json(config, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}))  # fmt: skip
    tables = "langsamp.safetensors"
    for setup in ("import", "init folder", "info folder", "analyze embeddings", "analyze sources"):
        for what, damage in (
            ("cut off", cut(f"hf/{tables}", 0.9)), ("rubbish", put(f"hf/{tables}", RUBBISH)),
            ("a row too many", tensors(lambda found: found.update({"lang_embedding.weight": torch.zeros(99, 32)}), tables)),
            ("another width", tensors(lambda found: found.update({name: found[name][:, 1:].contiguous() for name in [*found]}), tables)),
            ("one dimension", tensors(lambda found: found.update({"lang_embedding.weight": torch.zeros(7)}), tables)),
            ("no script table", tensors(lambda found: found.pop("script_embedding.weight"), tables)),
            ("no languages", remove("hf/languages.tsv")), ("a code twice", put("hf/languages.tsv", "eng\neng\n")),
            ("paths for codes", put("hf/languages.tsv", "../../evil\n")), ("rubbish for codes", put("hf/scripts.tsv", RUBBISH)),
        ):  # fmt: skip
            yield Case(setup, f"tables: {what}", "in/hf", damage)
    for setup in ("analyze embeddings", "import", "info folder"):
        for what, tags in (("paths", ["../../evil_Latn"]), ("numbers", [1]), ("a word", "eng_Latn")):
            yield Case(setup, f"{what} for tags", "config.json", edit_json(config, langsamp_tags=tags))
    yield Case("analyze embeddings", "no configuration", "config.json", remove(config))
    yield Case("analyze embeddings", "values that are no numbers", "in/hf", tensors(lambda found: found["lang_embedding.weight"].fill_(float("nan")), tables))  # fmt: skip


def archive(*members):
    """Put the data of a task into an archive with further members, and away from the folder."""

    def damage(folder):
        with tarfile.open(folder / "eval/sr_bible/sr_bible.tar.gz", "w:gz") as packed:
            for path in sorted((folder / "eval/sr_bible").glob("*.txt")):
                packed.add(path, f"sr_bible/{path.name}")
                path.unlink()
            for name, kind, target in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, target
                packed.addfile(member, io.BytesIO())

    return damage


def evaluation_cases():
    bible, tatoeba, tuned = "eval/sr_bible", "eval/sr_tatoeba", "eval/sib200"
    only = (
        "--langs",
        "deu_Latn",
    )  # of several languages one that cannot be read is left out, and the others are scored
    for what, damage, name in (
        ("no English", remove(f"{bible}/eng_Latn.txt"), "eng_Latn.txt"), ("a line without id", put(f"{bible}/deu_Latn.txt", "text\n"), "deu_Latn.txt"),
        ("an id twice", put(f"{bible}/deu_Latn.txt", "1\ta\n1\tb\n"), "deu_Latn.txt"), ("rubbish", put(f"{bible}/deu_Latn.txt", RUBBISH), "deu_Latn.txt"),
        ("a line without id in English", put(f"{bible}/eng_Latn.txt", "text\n"), "eng_Latn.txt"), ("rubbish in English", put(f"{bible}/eng_Latn.txt", RUBBISH), "eng_Latn.txt"),
        ("other ids everywhere", put(f"{bible}/eng_Latn.txt", "x1\ta\nx2\tb\n"), "sr_bible"), ("an empty English", put(f"{bible}/eng_Latn.txt", ""), "sr_bible"),
        ("an archive that escapes", archive(("../../../evil.txt", tarfile.REGTYPE, "")), "sr_bible.tar.gz"),
        ("an archive with an absolute name", archive(("/elsewhere/evil.txt", tarfile.FIFOTYPE, "")), "sr_bible.tar.gz"),
        ("an archive with a link out", archive(("sr_bible/x", tarfile.SYMTYPE, "../../../..")), "sr_bible.tar.gz"),
        ("an archive with a link", archive(("sr_bible/xxx_Latn.txt", tarfile.SYMTYPE, "eng_Latn.txt")), "sr_bible.tar.gz"),
        ("an archive with a hard link out", archive(("sr_bible/x", tarfile.LNKTYPE, "/etc/passwd")), "sr_bible.tar.gz"),
        ("an archive with a device", archive(("sr_bible/x", tarfile.CHRTYPE, "")), "sr_bible.tar.gz"),
        ("an archive of rubbish", put(f"{bible}/sr_bible.tar.gz", RUBBISH), "sr_bible.tar.gz"),
        ("an archive cut off", both(archive(), cut(f"{bible}/sr_bible.tar.gz", 0.6)), "sr_bible.tar.gz"),
    ):  # fmt: skip
        yield Case("evaluate sr_bible", f"verses: {what}", name, damage, only)
    for what, damage, name in (
        ("lines missing", put(f"{tatoeba}/tatoeba.deu-eng.deu", "a\n"), "tatoeba.deu-eng.deu"), ("an unknown code", put(f"{tatoeba}/index.tsv", "code\ttag\ndeu\t../../evil\n"), "index.tsv"),
        ("a line too short in the index", put(f"{tatoeba}/index.tsv", "code\ttag\ndeu\n"), "index.tsv"), ("rubbish for an index", put(f"{tatoeba}/index.tsv", RUBBISH), "index.tsv"),
        ("a huge field in the index", put(f"{tatoeba}/index.tsv", "code\ttag\ndeu\t" + "x" * 200_000), "index.tsv"),
        ("rubbish", put(f"{tatoeba}/tatoeba.deu-eng.eng", RUBBISH), "tatoeba.deu-eng.eng"),
        ("nothing in any", lambda folder: [path.write_text("") for path in (folder / tatoeba).glob("tatoeba.*")], "sr_tatoeba"),
    ):  # fmt: skip
        yield Case("evaluate sr_tatoeba", f"sentences: {what}", name, damage, only)
    for what, damage, name in (
        ("a line too short", put(f"{tuned}/deu_Latn/test.tsv", "index_id\tcategory\ttext\n1\tlong\n"), "deu_Latn/test.tsv"), ("rubbish", put(f"{tuned}/deu_Latn/test.tsv", RUBBISH), "deu_Latn/test.tsv"),
        ("no training data", remove(f"{tuned}/eng_Latn/train.tsv"), "eng_Latn"), ("no dev data", remove(f"{tuned}/eng_Latn/dev.tsv"), "eng_Latn"),
        ("empty training data", put(f"{tuned}/eng_Latn/train.tsv", "index_id\tcategory\ttext\n"), "eng_Latn"), ("rubbish to train on", put(f"{tuned}/eng_Latn/train.tsv", RUBBISH), "eng_Latn/train.tsv"),
        ("no label column", put(f"{tuned}/eng_Latn/train.tsv", "index_id\ttext\n1\ta\n2\tb\n"), "eng_Latn/train.tsv"),
        ("one label only", put(f"{tuned}/eng_Latn/train.tsv", "index_id\tcategory\ttext\n1\tlong\ta\n2\tlong\tb\n"), "eng_Latn"),
    ):  # fmt: skip
        yield Case("evaluate sib200", f"topics: {what}", name, damage, only)
    gone = lambda folder: shutil.rmtree(folder / tuned)  # noqa: E731
    yield Case("analyze sources", "no data", "in/eval", gone)
    for what, content in (
        ("a word without label", "a\tWORD\nb\n"),
        ("rubbish", RUBBISH),
        ("nothing but labels", "\tWORD\n"),
    ):
        for name in ("eng_Latn/train.tsv", "deu_Latn/test.tsv"):
            yield Case("evaluate pos", f"words: {what} in {name}", name, put(f"eval/pos/{name}", content), only)
    for what, content in (
        ("a line without id", "text\n"),
        ("rubbish", RUBBISH),
        ("an id twice", "1\ta\n1\tb\n"),
        ("other ids", "x\ta\n"),
    ):
        name = "in/parallel" if what == "other ids" else "deu_Latn.txt"
        yield Case("analyze neutrality", f"sentences: {what}", name, put("parallel/deu_Latn.txt", content))
    for what, content in (("no text column", "id\tsentence\n1\ta\n"), ("rubbish", RUBBISH), ("a line too short", "id\ttext\n1\n"),
                          ("a huge field", "id\ttext\n1\t" + "x" * 200_000 + "\n"), ("an id twice", "id\ttext\n1\ta\n1\tb\n")):  # fmt: skip
        table = both(remove("parallel/deu_Latn.txt"), put("parallel/deu_Latn/test.tsv", content))
        yield Case(
            "analyze neutrality", f"a table: {what}", "in/parallel" if "huge" in what else "deu_Latn/test.tsv", table
        )
    yield from result_cases()


def result_cases():
    one = "results/one/sib200.json"
    for what, damage in (
        ("broken", cut(one, 0.5)), ("rubbish", put(one, RUBBISH)), ("a list", put(one, "[]")), ("empty", put(one, "")), ("deep", put(one, "[" * 100_000)),
        ("no scores", edit_json(one, scores=None)), ("a field too many", edit_json(one, evil=1)), ("a list for the incomplete", edit_json(one, incomplete=[])), ("a list for scores", edit_json(one, scores=[1])),
        ("no languages", edit_json(one, scores={})), ("words for scores", edit_json(one, scores={"deu_Latn": {"f1": ["high"]}})),
        ("a number for a list", edit_json(one, scores={"deu_Latn": {"f1": 3}})), ("no values", edit_json(one, scores={"deu_Latn": {"f1": []}})),
        ("no number", edit_json(one, scores={"deu_Latn": {"f1": [float("nan"), 1.0]}})), ("infinity", edit_json(one, scores={"deu_Latn": {"f1": [float("inf"), 1.0]}})),
        ("fewer values than seeds", edit_json(one, scores={"deu_Latn": {"f1": [1.0]}})), ("another metric", edit_json(one, metric="recall")),
        ("a list for a name", edit_json(one, model=["x"])), ("a path for a name", edit_json(one, model="../../evil")), ("another task", edit_json(one, task="../../evil")),
        ("a path for a tag", edit_json(one, scores={"../../evil": {"f1": [1.0, 2.0]}})), ("words for settings", edit_json(one, settings="slow")),
        ("a number for notes", edit_json(one, notes=3)), ("a list for provenance", edit_json(one, provenance=[])), ("a word for seeds", edit_json(one, seeds="all")),
    ):  # fmt: skip
        yield Case("report", f"a result: {what}", "one/sib200.json", damage)
    yield Case("report", "no results", "in/results", lambda folder: [path.unlink() for path in folder.rglob("*.json")])
    yield Case(
        "report",
        "one result twice",
        "one",
        lambda folder: shutil.copytree(folder / "results/one", folder / "results/copy"),
    )
    for what, content in (("other columns", "tag\thead\n"), ("rubbish", RUBBISH), ("a word for head", "lang_script\thead\ndeu_Latn\tyes\n"), ("nothing", ""),
                          ("a line too short", "lang_script\thead\ndeu_Latn\n"), ("a path for a tag", "lang_script\thead\n../../evil\t1\n")):  # fmt: skip
        yield Case("report", f"groups: {what}", "groups.tsv", put("groups.tsv", content))
    stale = lambda folder: put("../out/hf/sr_bible.json", json.dumps({"task": 1}))(folder)  # noqa: E731
    yield Case("evaluate sr_bible", "a result that is none in --out", "sr_bible.json", stale)
    yield Case(
        "evaluate sib200",
        "a result that is none in --out",
        "sib200.json",
        lambda folder: put("../out/hf/sib200.json", "{}")(folder),
    )
