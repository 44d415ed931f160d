"""Valid inputs for every command, small."""

import bz2
import gzip
import json
import lzma
import shutil

import pyarrow
import pyarrow.parquet

TAGS = ("eng_Latn", "deu_Latn", "rus_Cyrl")


def make_gallery(folder, demo, trained, exported, eval_data):
    """Write one of everything that a command reads into an empty folder."""
    lines = {}
    for path in sorted((demo / "corpus" / "train").glob("*.txt")):
        lines[path.stem] = path.read_text(encoding="utf-8").splitlines()[:150]
    for tag in TAGS:
        put(folder / "corpus" / f"{tag}.txt", plain(lines[tag]))
    put(folder / "more" / "srp_Latn.txt", plain(lines["srp_Latn"]))
    mixed = folder / "mixed"
    put(mixed / "eng_Latn.txt", plain(lines["eng_Latn"]))
    put(mixed / "deu_Latn.jsonl.gz", gzip.compress(rows(lines["deu_Latn"])))
    put(mixed / "srp_Latn.txt.xz", lzma.compress(plain(lines["srp_Latn"])))
    put(mixed / "srp_Cyrl.jsonl.bz2", bz2.compress(rows(lines["srp_Cyrl"])))
    put(mixed / "zho_Hani.txt.zst", pyarrow.compress(plain(lines["zho_Hani"]), "zstd", asbytes=True))
    pyarrow.parquet.write_table(table(lines["rus_Cyrl"]), mixed / "rus_Cyrl.parquet")
    hindi = table(lines["hin_Deva"])
    with (
        pyarrow.OSFile(str(mixed / "hin_Deva.arrow"), "wb") as stream,
        pyarrow.ipc.new_stream(stream, hindi.schema) as writer,
    ):
        writer.write_table(hindi, max_chunksize=20)
    put(folder / "tables" / "languages.tsv", b"deu\neng\nhin\nrus\nsrp\nzho\n")
    put(folder / "tables" / "scripts.tsv", b"Latn\nCyrl\nDeva\nHani\n")
    put(folder / "families.tsv", b"language\tfamily\neng\tGermanic\n")
    put(folder / "groups.tsv", b"lang_script\thead\ndeu_Latn\t1\nrus_Cyrl\t0\n")
    for tag in ("deu", "rus"):
        for code, name in ((tag, f"{tag}_Latn" if tag == "deu" else f"{tag}_Cyrl"), ("eng", "eng_Latn")):
            put(folder / "eval" / "sr_tatoeba" / f"tatoeba.{tag}-eng.{code}", plain(lines[name][:20]))
    for task in ("sr_bible", "sib200", "pos"):
        shutil.copytree(eval_data / task, folder / "eval" / task)
    shutil.copytree(demo / "corpus" / "aligned", folder / "parallel")
    shutil.copytree(demo / "data-bin", folder / "data-bin")
    shutil.copytree(exported, folder / "hf")
    shutil.copy(demo / "spm.model", folder / "spm.model")
    shutil.copy(trained, folder / "last.pt")
    for number, name in enumerate(("one", "two")):
        put(folder / "results" / name / "sib200.json", json.dumps(result(name, 50.0 + number)).encode())


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def plain(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def rows(lines):
    return "".join(json.dumps({"id": number, "text": line}) + "\n" for number, line in enumerate(lines)).encode()


def table(lines):
    columns = {"id": pyarrow.array(range(len(lines)), pyarrow.int64()), "text": pyarrow.array(lines, pyarrow.string())}
    return pyarrow.table(columns)


def result(name, score):
    """What `langsamp evaluate` writes."""
    return {
        "task": "sib200", "model": name, "metric": "f1", "source": "eng_Latn", "seeds": [42, 43],
        "settings": {"lr": 1e-5},
        "scores": {tag: {"f1": [score, score + 1]} for tag in TAGS}, "sizes": dict.fromkeys(TAGS, 204),
        "not_scored": {},
        "notes": [], "by_layer": {}, "curves": {}, "provenance": {"data_hash": "x"},
    }  # fmt: skip
