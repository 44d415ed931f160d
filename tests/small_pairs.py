"""Pairs of a few languages, some of them held out, and a data folder made of them."""

from langsamp_plugin.data.pair_binarizer import binarize_pairs
from langsamp_plugin.lang_script import LangScript, Tables

TEXTS = {
    "eng_Latn": {f"m{number}": f"message number {number} in English" for number in range(20)},
    "deu_Latn": {f"m{number}": f"Nachricht Nummer {number}" for number in range(5, 25)},
    "rus_Cyrl": {f"m{number}": f"сообщение {number}" for number in range(0, 30, 3)},
    "fra_Latn": {"alone": "seul"},
}
HELD_OUT = {tag: {f"h{number}": f"{tag} held out {number}" for number in range(4)} for tag in ("eng_Latn", "deu_Latn")}


def write(folder, texts):
    folder.mkdir(parents=True, exist_ok=True)
    for tag, messages in texts.items():
        lines = "".join(f"{name}\t{text}\n" for name, text in messages.items())
        (folder / f"{tag}.txt").write_text(lines, encoding="utf-8")
    return folder


def write_pairs(folder):
    """Write both splits and return the folder."""
    write(folder / "train", TEXTS)
    write(folder / "valid", HELD_OUT)
    return folder


def binarize_into(out, pairs, demo):
    """Binarize the pairs into a data folder that has tables, and return it."""
    out.mkdir()
    Tables.of([], "nothing").extended([LangScript("zul", "Latn")]).save(out)
    binarize_pairs(pairs, demo / "spm.model", out)
    return out
