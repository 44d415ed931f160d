"""Malformed data and results of evaluations."""

import io
import json
import shutil
import tarfile

from malformed_inputs import RUBBISH, Case, both, cut, edit_json, put, remove

BIBLE, TATOEBA, TUNED = "eval/sr_bible", "eval/sr_tatoeba", "eval/sib200"
# Of several languages one that cannot be read is left out, and the others are scored.
ONLY = ("--langs", "deu_Latn")


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
    for what, damage, name in (
        ("no English", remove(f"{BIBLE}/eng_Latn.txt"), "eng_Latn.txt"),
        ("a line without id", put(f"{BIBLE}/deu_Latn.txt", "text\n"), "deu_Latn.txt"),
        ("an id twice", put(f"{BIBLE}/deu_Latn.txt", "1\ta\n1\tb\n"), "deu_Latn.txt"),
        ("rubbish", put(f"{BIBLE}/deu_Latn.txt", RUBBISH), "deu_Latn.txt"),
        ("a line without id in English", put(f"{BIBLE}/eng_Latn.txt", "text\n"), "eng_Latn.txt"),
        ("rubbish in English", put(f"{BIBLE}/eng_Latn.txt", RUBBISH), "eng_Latn.txt"),
        ("other ids everywhere", put(f"{BIBLE}/eng_Latn.txt", "x1\ta\nx2\tb\n"), "sr_bible"),
        ("an empty English", put(f"{BIBLE}/eng_Latn.txt", ""), "sr_bible"),
        ("an archive that escapes", archive(("../../../evil.txt", tarfile.REGTYPE, "")), "sr_bible.tar.gz"),
        ("an archive with an absolute name", archive(("/elsewhere/evil.txt", tarfile.FIFOTYPE, "")), "sr_bible.tar.gz"),
        ("an archive with a link out", archive(("sr_bible/x", tarfile.SYMTYPE, "../../../..")), "sr_bible.tar.gz"),
        (
            "an archive with a link",
            archive(("sr_bible/xxx_Latn.txt", tarfile.SYMTYPE, "eng_Latn.txt")),
            "sr_bible.tar.gz",
        ),
        ("an archive with a hard link out", archive(("sr_bible/x", tarfile.LNKTYPE, "/etc/passwd")), "sr_bible.tar.gz"),
        ("an archive with a device", archive(("sr_bible/x", tarfile.CHRTYPE, "")), "sr_bible.tar.gz"),
        ("an archive of rubbish", put(f"{BIBLE}/sr_bible.tar.gz", RUBBISH), "sr_bible.tar.gz"),
        ("an archive cut off", both(archive(), cut(f"{BIBLE}/sr_bible.tar.gz", 0.6)), "sr_bible.tar.gz"),
    ):
        yield Case("evaluate sr_bible", f"verses: {what}", name, damage, ONLY)
    yield from fine_tuning_cases()


def fine_tuning_cases():
    for what, damage, name in (
        ("lines missing", put(f"{TATOEBA}/tatoeba.deu-eng.deu", "a\n"), "tatoeba.deu-eng.deu"),
        ("an unknown code", put(f"{TATOEBA}/index.tsv", "code\ttag\ndeu\t../../evil\n"), "index.tsv"),
        ("a line too short in the index", put(f"{TATOEBA}/index.tsv", "code\ttag\ndeu\n"), "index.tsv"),
        ("rubbish for an index", put(f"{TATOEBA}/index.tsv", RUBBISH), "index.tsv"),
        ("a huge field in the index", put(f"{TATOEBA}/index.tsv", "code\ttag\ndeu\t" + "x" * 200_000), "index.tsv"),
        ("rubbish", put(f"{TATOEBA}/tatoeba.deu-eng.eng", RUBBISH), "tatoeba.deu-eng.eng"),
        (
            "nothing in any",
            lambda folder: [path.write_text("") for path in (folder / TATOEBA).glob("tatoeba.*")],
            "sr_tatoeba",
        ),
    ):
        yield Case("evaluate sr_tatoeba", f"sentences: {what}", name, damage, ONLY)
    for what, damage, name in (
        (
            "a line too short",
            put(f"{TUNED}/deu_Latn/test.tsv", "index_id\tcategory\ttext\n1\tlong\n"),
            "deu_Latn/test.tsv",
        ),
        ("rubbish", put(f"{TUNED}/deu_Latn/test.tsv", RUBBISH), "deu_Latn/test.tsv"),
        ("no training data", remove(f"{TUNED}/eng_Latn/train.tsv"), "eng_Latn"),
        ("no dev data", remove(f"{TUNED}/eng_Latn/dev.tsv"), "eng_Latn"),
        ("empty training data", put(f"{TUNED}/eng_Latn/train.tsv", "index_id\tcategory\ttext\n"), "eng_Latn"),
        ("rubbish to train on", put(f"{TUNED}/eng_Latn/train.tsv", RUBBISH), "eng_Latn/train.tsv"),
        ("no label column", put(f"{TUNED}/eng_Latn/train.tsv", "index_id\ttext\n1\ta\n2\tb\n"), "eng_Latn/train.tsv"),
        (
            "one label only",
            put(f"{TUNED}/eng_Latn/train.tsv", "index_id\tcategory\ttext\n1\tlong\ta\n2\tlong\tb\n"),
            "eng_Latn",
        ),
    ):
        yield Case("evaluate sib200", f"topics: {what}", name, damage, ONLY)
    yield from sentence_cases()


def sentence_cases():
    gone = lambda folder: shutil.rmtree(folder / TUNED)  # noqa: E731
    yield Case("analyze sources", "no data", "in/eval", gone)
    for what, content in (
        ("a word without label", "a\tWORD\nb\n"),
        ("rubbish", RUBBISH),
        ("nothing but labels", "\tWORD\n"),
    ):
        for name in ("eng_Latn/train.tsv", "deu_Latn/test.tsv"):
            yield Case("evaluate pos", f"words: {what} in {name}", name, put(f"eval/pos/{name}", content), ONLY)
    for what, content in (
        ("a line without id", "text\n"),
        ("rubbish", RUBBISH),
        ("an id twice", "1\ta\n1\tb\n"),
        ("other ids", "x\ta\n"),
    ):
        name = "in/parallel" if what == "other ids" else "deu_Latn.txt"
        yield Case("analyze neutrality", f"sentences: {what}", name, put("parallel/deu_Latn.txt", content))
    for what, content in (
        ("no text column", "id\tsentence\n1\ta\n"),
        ("rubbish", RUBBISH),
        ("a line too short", "id\ttext\n1\n"),
        ("a huge field", "id\ttext\n1\t" + "x" * 200_000 + "\n"),
        ("an id twice", "id\ttext\n1\ta\n1\tb\n"),
    ):
        table = both(remove("parallel/deu_Latn.txt"), put("parallel/deu_Latn/test.tsv", content))
        yield Case(
            "analyze neutrality", f"a table: {what}", "in/parallel" if "huge" in what else "deu_Latn/test.tsv", table
        )
    yield from result_cases()


def result_cases():
    one = "results/one/sib200.json"
    for what, damage in (
        ("broken", cut(one, 0.5)),
        ("rubbish", put(one, RUBBISH)),
        ("a list", put(one, "[]")),
        ("empty", put(one, "")),
        ("deep", put(one, "[" * 100_000)),
        ("no scores", edit_json(one, scores=None)),
        ("a field too many", edit_json(one, evil=1)),
        ("a list for the incomplete", edit_json(one, incomplete=[])),
        ("a list for scores", edit_json(one, scores=[1])),
        ("no languages", edit_json(one, scores={})),
        ("words for scores", edit_json(one, scores={"deu_Latn": {"f1": ["high"]}})),
        ("a number for a list", edit_json(one, scores={"deu_Latn": {"f1": 3}})),
        ("no values", edit_json(one, scores={"deu_Latn": {"f1": []}})),
        ("no number", edit_json(one, scores={"deu_Latn": {"f1": [float("nan"), 1.0]}})),
        ("infinity", edit_json(one, scores={"deu_Latn": {"f1": [float("inf"), 1.0]}})),
        ("fewer values than seeds", edit_json(one, scores={"deu_Latn": {"f1": [1.0]}})),
        ("another metric", edit_json(one, metric="recall")),
        ("a list for a name", edit_json(one, model=["x"])),
        ("a path for a name", edit_json(one, model="../../evil")),
        ("another task", edit_json(one, task="../../evil")),
        ("a path for a tag", edit_json(one, scores={"../../evil": {"f1": [1.0, 2.0]}})),
        ("words for settings", edit_json(one, settings="slow")),
        ("a number for notes", edit_json(one, notes=3)),
        ("a list for provenance", edit_json(one, provenance=[])),
        ("a word for seeds", edit_json(one, seeds="all")),
    ):
        yield Case("report", f"a result: {what}", "one/sib200.json", damage)
    yield Case("report", "no results", "in/results", lambda folder: [path.unlink() for path in folder.rglob("*.json")])
    yield Case(
        "report",
        "one result twice",
        "one",
        lambda folder: shutil.copytree(folder / "results/one", folder / "results/copy"),
    )
    for what, content in (
        ("other columns", "tag\thead\n"),
        ("rubbish", RUBBISH),
        ("a word for head", "lang_script\thead\ndeu_Latn\tyes\n"),
        ("nothing", ""),
        ("a line too short", "lang_script\thead\ndeu_Latn\n"),
        ("a path for a tag", "lang_script\thead\n../../evil\t1\n"),
    ):
        yield Case("report", f"groups: {what}", "groups.tsv", put("groups.tsv", content))
    stale = lambda folder: put("../out/hf/sr_bible.json", json.dumps({"task": 1}))(folder)  # noqa: E731
    yield Case("evaluate sr_bible", "a result that is none in --out", "sr_bible.json", stale)
    yield Case(
        "evaluate sib200",
        "a result that is none in --out",
        "sib200.json",
        lambda folder: put("../out/hf/sib200.json", "{}")(folder),
    )
