"""The command line: help for everything, one line for every mistake."""

import os
import re
import subprocess
import sys

import pytest
from support import ROOT, run

COMMANDS = [
    "corpus",
    "check",
    "pairs",
    "tokenizer train",
    "tokenizer extend",
    "tokenizer trim",
    "import",
    "binarize",
    "info",
    "init",
    "export",
    "megatron import",
    "megatron export",
    "megatron index",
    "evaluate",
    "report",
    "analyze embeddings",
    "analyze neutrality",
    "analyze sources",
    "analyze tags",
    "user-dir",
    "doctor",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    text = run("langsamp", *command.split(), "--help")
    assert "Example:" in text and command in text


def wrong(*arguments, status=2):
    """Run a command that must fail with one line, and return the line."""
    output = run("langsamp", *arguments, expect=status)
    lines = [line for line in output.splitlines() if line.startswith("langsamp: ")]
    assert len(lines) == 1 and "Traceback" not in output, output
    assert output.strip().splitlines()[-1] == lines[0]
    return lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("analyze",),
        ("export",),
        ("export", "--frob"),
        ("tokenizer", "train", "x", "--out", "y", "--vocab-size", "many"),
    ],
)
def test_wrong_use(arguments):
    assert "see `langsamp --help`" in wrong(*arguments)


def test_bad_input_names_file_and_remedy(demo, tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "data"
    corpus.mkdir()

    def binarize(message):
        line = wrong("binarize", corpus, "--spm", demo / "spm.model", "--out", out, "--strict")
        assert message in line
        assert not (out / "dict.txt").exists() and not list(out.rglob("*.tmp")) if out.exists() else True

    binarize("has no <tag>.txt")
    (corpus / "eng_Latn.txt").write_text("text\n")
    (corpus / "xyz_Latn.txt").write_text("text\n")
    binarize("xyz_Latn.txt: ")
    (corpus / "xyz_Latn.txt").rename(corpus / "deu_Latn.txt")
    (corpus / "deu_Latn.txt").write_text("")
    binarize("deu_Latn.txt: it is empty: add text or remove the file")
    (corpus / "deu_Latn.txt").write_bytes(b"\xff\xfe\x00")
    binarize("deu_Latn.txt, line 1: not UTF-8")
    assert "train one with" in wrong("binarize", corpus, "--spm", tmp_path / "none.model", "--out", out)
    assert "is missing" in wrong("binarize", tmp_path / "none", "--spm", demo / "spm.model", "--out", out)
    assert "is missing" in wrong("export", tmp_path / "none.pt", "--out", tmp_path / "hf")
    assert "wikipedia is missing" in wrong("corpus", "wikipedia", "--out", out)
    assert "choose another folder" in wrong("corpus", corpus, "--out", corpus)
    assert "no catalogue in zul_Latn" in wrong("corpus", "django", "--langs", "zul", "--out", out)
    (corpus / "deu_Latn.txt").write_text("\n \n")
    (corpus / "eng_Latn.txt").write_text("\n")
    assert "no line of text" in wrong("tokenizer", "train", corpus, "--out", tmp_path / "x.model")
    assert not (tmp_path / "x.model").exists()


def test_somebody_elses_folder_is_not_replaced(trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert "is not replaced" in wrong("export", trained, "--out", tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in run("langsamp", "export", tmp_path / "none.pt", "--out", tmp_path, "--debug", expect=1)


def test_user_dir():
    assert run("langsamp", "user-dir").strip().endswith("langsamp_plugin")


def test_info_names_what_is_damaged(demo, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(demo / "data-bin", data)
    path = data / "hin_Deva" / "train.bin"
    path.write_bytes(path.read_bytes()[:-100])
    assert "hin_Deva/train.bin must have" in wrong("info", data)
    shutil.copytree(demo / "data-bin", data, dirs_exist_ok=True)
    pieces = (data / "dict.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "dict.txt").write_text("".join(pieces[:-10]), encoding="utf-8")
    assert "was binarized with a vocabulary of 2,002 token ids, but dict.txt next to it has 1,992" in wrong(
        "info", data
    )
    (data / "dict.txt").unlink()
    assert "dict.txt is missing" in wrong("info", data)
    assert "no <tag>/*.idx" in wrong("info", tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json is not a model configuration" in wrong("info", tmp_path)
    assert "is missing" in wrong("info", tmp_path / "nothing")


def test_info_previews_the_sampling(demo):
    output = run("langsamp", "info", demo / "data-bin", "--sampling", "glot500", "--counts", "lines", "--alpha", 0.5)
    assert (
        "every index and buffer is complete" in output
        and "shards: train of 7 languages, valid of 7 languages" in output
    )
    assert "sampling preview: glot500, alpha 0.5, scale 30, counted in lines, 512 tokens per sample" in output
    assert output.splitlines()[-1].startswith("7 languages, ") and "draws per epoch" in output.splitlines()[-1]
    assert "scheme must be" in wrong("info", demo / "data-bin", "--sampling", "uniform")
    assert "must be blocks or lines" in wrong("info", demo / "data-bin", "--counts", "bytes")


def test_version():
    import langsamp_plugin

    assert run("langsamp", "--version").strip() == langsamp_plugin.__version__


def test_commands_are_listed_in_the_order_of_work_and_nothing_is_cut_off(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run("langsamp", "--help")
    listed = re.findall(r"^  ([a-z-]+)  +(.*)$", text[text.index("Commands:") :], re.M)
    order = (
        "corpus check pairs tokenizer binarize init import export megatron evaluate report analyze info doctor user-dir"
    )
    assert [name for name, _ in listed] == order.split()
    for help_ in (text, *(run("langsamp", group, "--help") for group in ("tokenizer", "megatron", "analyze"))):
        assert "..." not in help_.partition("Commands:")[2] and max(map(len, help_.splitlines())) <= 80
    assert all(summary.endswith(".") for _, summary in listed)


def test_shell_completion():
    assert "--install-completion" in run("langsamp", "--help")


def test_tables_have_one_set_of_values():
    help_ = [" ".join(run("langsamp", command, "--help").split()) for command in ("init", "binarize")]
    for text in help_:
        assert all(word in text for word in ("auto (", "data (", "glot500 (", "languages.tsv and scripts.tsv"))


REPLACING = {
    "export x.pt": "config.json", "megatron export x": "config.json", "megatron import x.pt": "langsamp.json",
    "megatron index x": "megatron.txt", "report x": "report.md", "analyze embeddings x.pt": "map.html",
    "pairs x": "counts.tsv", "corpus django": "aligned",
}  # fmt: skip
"""Commands that replace a folder, and what theirs has in it."""


def test_the_folder_is_looked_at_before_anything_heavy_is_loaded(tmp_path):
    """Somebody else's is refused where torch, fairseq and transformers cannot be imported at all."""
    (tmp_path / "of_another_kind").mkdir()
    (tmp_path / "of_another_kind" / "thesis.tex").touch()
    for command, marker in REPLACING.items():
        folder = tmp_path / command.replace(" ", "_")
        folder.mkdir()
        (folder / marker).touch()
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "fairseq", "transformers", "numpy"), None))
from langsamp_plugin import cli
for command in {list(REPLACING)}:
    for out in ("of_another_kind", command.replace(" ", "_")):
        sys.argv = ["langsamp", *command.split(), "--out", out]
        try:
            cli.main()
        except SystemExit as end:
            print(end.code, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = done.stderr.splitlines()
    assert lines[1::2] == ["2"] * 2 * len(REPLACING), done.stderr
    for (command, marker), foreign, other in zip(REPLACING.items(), lines[::4], lines[2::4]):
        assert f"of_another_kind exists and does not contain {marker}, so it is not replaced" in foreign, command
        assert "was not written by this command (it has no .written.json), so it is not replaced" in other, command


OWN_FILES = {
    "check corpus --out {out}/check.tsv": "check.tsv",
    "analyze tags x.pt --out {out}/tags.json": "tags.json",
    "analyze neutrality x --data x --out {out}": "neutrality.png",
    "analyze sources x --task sib200 --data x --out {out}": "sources.tsv",
    "corpus corpus --out {out}": "deu_Latn.txt",
}
"""Commands that write files into a folder, and one of them."""


@pytest.mark.parametrize("command", OWN_FILES)
def test_a_file_of_somebody_else_is_kept(tmp_path, command):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "deu_Latn.txt").write_text("Guten Morgen\n")
    out = tmp_path / "out"
    out.mkdir()
    path = out / OWN_FILES[command]
    path.write_text("mine")
    arguments = command.replace("corpus ", f"{tmp_path}/corpus ").format(out=out).split()
    if command.startswith("corpus"):
        arguments[0] = "corpus"
    assert f"{path} was not written by this command, so it is not replaced" in wrong(*arguments)
    assert path.read_text() == "mine" and [found.name for found in out.iterdir()] == [path.name]
    if command.startswith(("corpus", "check")):
        run("langsamp", *arguments, "--overwrite")
        run("langsamp", *arguments)  # now it is its own
        assert path.read_text() != "mine"
