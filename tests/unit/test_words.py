"""The linter of words: nothing is found in the tree, and each rule finds its example."""

import importlib.util
import sys
from pathlib import Path

import pytest
from support import ROOT

SPEC = importlib.util.spec_from_file_location("check_words", ROOT / "scripts" / "check_words.py")
words = importlib.util.module_from_spec(SPEC)
sys.modules["check_words"] = words
SPEC.loader.exec_module(words)

EXAMPLES = [
    "the file is no checkpoint", "it is none of the three", "how it is got", "a table beside it", "a run goes on",
    "at most so many blocks", "no GPU was at hand", "converts both ways", "a part by itself", "a file of its own",
    "a row shall start", "drawn anew", "parted by a tab", "names put together", "mend the line", "reckoned from",
    "it lies in a folder", "the whole file", "split otherwise than before", "for want of a GPU", "an id is there twice",
    "an id comes twice", "one code a line", "somebody else's", "cosine less the mean", "it is said late",
    "it is looked at first", "so it is told", "all else is the same", "20 tokens a second", "two trainings run",
    "what came out", "Run again, it resumes", "whatever its order", "0 takes all", "a checkpoint stands in a folder",
    "everybody knows", "it ends in the same bits", "killed again and again", "it wins back a bit", "a run of it",
]  # fmt: skip


def test_every_rule_finds_its_example():
    found = [finding.better for text in EXAMPLES for finding in words.check(Path("a.md"), text)]
    assert sorted(set(found)) == sorted(set(words.RULES.values()))


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.py", 'x = 1  # mend it\ny = "mend"\nz = "please mend this"\nmend = 2\n', [1, 3]),
        ("a.py", 'def f():\n    """Short.\n\n    It goes on.\n    """\n', [4]),
        ("a.md", "`mend` it\n```\nmend\n```\nmend\n", [5]),
        ("a.sh", "mend\n# mend\n", [2]),
        ("a.md", "There is no folder; it is no longer there. A whole number.\n", []),
    ],
)
def test_only_prose_is_checked(name, text, lines):
    assert [finding.line for finding in words.check(Path(name), text)] == lines


def test_the_tree():
    files = words.tracked()
    assert len(files) > 300
    kinds = (".py", ".md", ".sh")
    found = [
        str(finding)
        for path in files
        if path.suffix in kinds
        for finding in words.check(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert found == []
