"""Whatever is wrong with its input, a command ends in one line that names it, and leaves nothing half-written."""

import re
import shutil
import sys

import pytest
import warm_start
from malformed_checkpoints import checkpoint_cases
from malformed_data import index_cases
from malformed_evaluation import evaluation_cases
from malformed_folders import folder_cases
from malformed_inputs import SETUPS
from malformed_options import option_cases
from malformed_texts import table_cases, text_cases

from langsamp_plugin.cli import main
from langsamp_plugin.commands.app import analyze_app, app, tokenizer_app
from langsamp_plugin.data import binarizer, held_out

CASES = [
    case
    for cases in (
        text_cases, table_cases, index_cases, option_cases, checkpoint_cases, folder_cases, evaluation_cases
    )
    for case in cases()
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def made_once_for_all():
    """What takes longer than most of these commands, and is checked elsewhere: the parser, pictures, a normaliser."""
    with pytest.MonkeyPatch.context() as patch:
        for prepare in (
            warm_start.build_command_line_once,
            warm_start.normalise_once,
            warm_start.leave_out_umap,
            warm_start.draw_empty_pictures,
        ):
            prepare(patch.setattr)
        yield


@pytest.fixture
def langsamp(gallery, tmp_path, monkeypatch, capfd):
    """Prepare a setup's inputs in ``in``, damage them, run its command; return status, output and the files around
    it."""

    def run(setup, damage, arguments):
        work = tmp_path / "outer" / "work"
        (work / "in").mkdir(parents=True)
        for name in setup.inputs:
            copy = shutil.copytree if (gallery / name).is_dir() else shutil.copy
            copy(gallery / name, work / "in" / name)
        damage(work / "in")
        monkeypatch.chdir(work)
        monkeypatch.setattr(sys, "argv", ["langsamp", *setup.command.split(), *setup.arguments.split(), *arguments])
        for kept in (binarizer._load_tokenizer, held_out.choose_held_out):
            kept.cache_clear()  # by path, and here the same path is another file each time
        before = snapshot(tmp_path)
        capfd.readouterr()
        # In this process: a new one that imports torch and fairseq takes seconds. tests/unit/test_cli.py starts some.
        with pytest.raises(SystemExit) as ended:
            main()
        output = "".join(reversed(capfd.readouterr()))
        return ended.value.code, output, before, snapshot(tmp_path)

    yield run
    shutil.rmtree(tmp_path)


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SETUPS)
def test_valid_inputs(langsamp, name):
    """The control: without the damage every setup succeeds."""
    status, output, _, _ = langsamp(SETUPS[name], lambda folder: None, ())
    assert status == 0 and "langsamp: " not in output, output


@pytest.mark.parametrize("case", CASES, ids=[f"{case.setup}: {case.what!a}" for case in CASES])
def test_malformed(langsamp, case):
    setup = SETUPS[case.setup]
    status, output, before, after = langsamp(setup, case.damage, case.arguments)
    lines = output.splitlines()
    said = [line for line in lines if line.startswith("langsamp: ")]
    assert status in (1, 2) and said == lines[-1:], output
    assert "Traceback" not in output and "code ran" not in output, output
    assert not said[0].startswith("langsamp: unexpected "), "the line of an unforeseen error"
    assert said[0].isprintable() and re.search(case.names, said[0]), f"{case.names!r} is not in: {said[0]}"
    assert {name: after.get(name) for name in before} == before, "an input was changed"
    left = [name.removeprefix("outer/work/") for name in after if name not in before]
    assert all(re.fullmatch(setup.left, name) for name in left), f"left behind: {left}"


def test_every_command_gets_some():
    """The end of pytest's output shows how many were refused (conftest.py)."""
    commands = {SETUPS[case.setup].command for case in CASES}
    registered = {
        f"{prefix}{command.name or command.callback.__name__.strip('_')}"
        for prefix, part in (("", app), ("tokenizer ", tokenizer_app), ("analyze ", analyze_app))
        for command in part.registered_commands
    }
    assert commands == registered and len(CASES) >= 200
