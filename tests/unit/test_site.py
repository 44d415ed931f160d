"""The documentation site builds with links and cross-references strict, and a broken one is an error."""

import os
import re
import subprocess
import sys

import pytest
from support import ROOT

pytest.importorskip("mkdocs", reason="the official fairseq's environment has no site")
PAGE = """# A page

[`Tables`][langsamp_plugin.code_tables.Tables] [file](absent.md) [anchor](#nowhere)
[object][langsamp_plugin.code_tables.Nothing]

::: langsamp_plugin.code_tables
"""


def build(folder, *options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def test_broken_references_are_errors(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(PAGE)
    config = re.sub(r"^nav:.*", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    config = config.replace("build/docs", str(tmp_path / "docs")).replace("[.]", f"[{ROOT}]")
    config = config.replace("scripts/docs_roles.py", str(ROOT / "scripts" / "docs_roles.py"))
    (tmp_path / "mkdocs.yml").write_text(config)
    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert done.returncode != 0
    for broken in ("absent.md", "#nowhere", "code_tables.Nothing"):
        assert broken in done.stderr, done.stderr
    assert done.stderr.count("WARNING") == 3, "the good reference is not among them"


def test_the_site(tmp_path):
    subprocess.run([sys.executable, "scripts/docs_pages.py"], cwd=ROOT, check=True)
    done = build(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "docs/data.html", "examples/pretrain/index.html", "api/hf.html"):
        assert (tmp_path / "site" / page).is_file(), page
    api = (tmp_path / "site" / "api" / "hf.html").read_text(encoding="utf-8")
    assert "LangSampForMaskedLM" in api and ":class:" not in api
