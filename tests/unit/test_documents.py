"""What README, CONTRIBUTING and the examples name is there: files, links, commands."""

import re
import subprocess

import pytest
import typer
from support import ROOT

import langsamp_plugin.cli

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
DOCUMENTS = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.md")) if ".venv" not in path.parts]
DOCUMENTS = [path for path in DOCUMENTS if not TRACKED or str(path) in TRACKED]
FOLDERS = ("langsamp_plugin/", "scripts/", "tests/", "examples/", "requirements/")


def broken_links(text, folder):
    """The relative targets of links that lead nowhere."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    return [link for link in links if "://" not in link and not (folder / link).exists()]


def missing_files(text, folder):
    """The paths in backticks that begin with one of our folders, or with a room, and do not exist."""
    named = re.findall(r"`(?:bash |python )?([\w.-]+/[\w./-]*\.(?:py|sh|md|tsv|toml|yaml|txt))[` ]", text)
    places = (ROOT, ROOT / "langsamp_plugin", folder)
    ours = [name for name in named if name.startswith(FOLDERS) or (places[1] / name.split("/")[0]).is_dir()]
    return [name for name in ours if not any((place / name).exists() for place in places)]


def unknown_commands(text):
    """The ``langsamp`` commands in backticks or code blocks that the command line does not have."""
    app = typer.main.get_command(langsamp_plugin.cli.app)
    unknown = []
    for words in re.findall(r"(?:^|[`(] ?)langsamp ((?:[a-z-]+ ?)+)", text, re.M):
        command, group = words.split()[0], app
        if command.startswith("-"):
            continue
        group = group.commands.get(command)
        second = words.split()[1:2]
        if group is None or (hasattr(group, "commands") and second and second[0] not in group.commands):
            unknown.append(f"langsamp {words.strip()}")
    return unknown


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_files_and_commands_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert broken_links(text, (ROOT / document).parent) == []
    assert missing_files(text, (ROOT / document).parent) == []
    assert unknown_commands(text) == []


def quoted_messages():
    """The words of messages in the first column of docs/troubleshooting.md, in parts where values stand between."""
    rows = re.findall(r"^\| (`.*?) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    return [part.strip() for row in rows for words in re.findall(r"`([^`]*)`", row) for part in words.split("...")]


def test_messages_that_are_explained_are_said_by_the_code():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "langsamp_plugin").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    messages = quoted_messages()
    assert len(messages) >= 15
    assert [words for words in messages if words not in code] == []


def test_what_is_missing_is_found():
    assert broken_links("see [that](nowhere.md) and [this](README.md)", ROOT) == ["nowhere.md"]
    assert missing_files("`data/corpus.py` and `corpus/text.py`, `tests/unit/test_no.py `", ROOT) == [
        "data/corpus.py",
        "tests/unit/test_no.py",
    ]
    assert unknown_commands("run `langsamp version` or `langsamp analyze moods M`") == [
        "langsamp version",
        "langsamp analyze moods",
    ]
