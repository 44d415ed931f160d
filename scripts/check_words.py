"""Finds recurring turns of phrase that native engineers would not use, in documents, comments, docstrings and messages.

    python scripts/check_words.py [FILE ...]

Each finding is a line with file, line number, the words, and what to write instead. Add a rule when a reviewer stumbles
over the same turn twice.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
UNITS = "(tokens|lines|sentences|bytes|bits|words|updates|minutes|hours|pairs|megabytes|MB|pieces|rows)"
RULES = {
    r"(?<!there )(?<!There )\b(is|are|was|were) no\b(?! longer)": "is not a, has no",
    r"\b(is|are) none of\b": "is not one of",
    r"\b(is|are) got\b": "comes from, is obtained",
    r"\bbesides?\b": "next to, in addition to",
    r"\b(goes|go|went|going) on\b(?! to\b)": "continues, resumes",
    r"\bso (many|much) (of|as)\b|\bat most so many\b": "at most N",
    r"\bat hand\b": "available",
    r"\bboth ways\b": "in both directions",
    r"\bby (itself|themselves)\b": "alone, separately",
    r"\bof (its|their|our|his|her|one's) own\b": "its own X, separate",
    r"\bshall\b": "must, should",
    r"\banew\b": "again",
    r"\bparted by\b": "separated by",
    r"\bput together\b": "merged, joined",
    r"\bmend(s|ed|ing)?\b": "fix, correct",
    r"(?<!-)\breckon(s|ed|ing)?\b(?!\.\w|[_-])": "estimate",
    r"\b(lies|lie) (in|on|at|below|beside|between|where)\b": "is",
    r"\bwhole\b(?![ -](number|word|grapheme|clause))": "complete, all of",
    r"\botherwise than\b": "differently from",
    r"\bfor want of\b": "without",
    r"\b(is|are) (not )?there (twice|already)\b|\bthat (is|are) there\b": "exists, occurs",
    r"\bcomes? twice\b": "occurs twice",
    r"\b(a|one) (code|tag|label|file|id|row|sentence|word|process) a (line|second|process|file|word)\b": "one X per Y",
    r"\bsomebody\b|\bnobody (else|here|on|can|on)\b": "name who: another program, another user, no one",
    r"\bless the\b": "minus the",
    r"\bsaid (first|late)\b": "reported early, late",
    r"\blooked (at|through) first\b": "checked first",
    r"\bso (it|they) (is|are) told\b": "is reported",
    r"\b(all|anything|nothing) else\b(?= (is|are) the same)": "everything else is equal",
    rf"\b{UNITS} an? (second|token|byte|line|update|model|language|logit|step|chunk|parameter|masked)\b": "N per X",
    r"(?<![.'])\btrainings\b(?!:)": "training runs",
    r"\b[Ww]hat (came|comes) (out|of)\b": "results",
    r"\bRun again, (it|the)\b": "If run again, it",
    r"\bwhatever\b": "any, regardless of",
    r"\b(0|empty|none) takes all\b": "0 means all",
    r"\b(file|one|name|place|notes|checkpoint|counts?) stands? (in|at|under|for)\b": "is in, is listed under, means",
    r"\b(some|every|any)body\b": "users, no one, a plain loop",
    r"\bends? in the same\b": "ends with the same",
    r"\bagain and again\b": "repeatedly",
    r"\bwins? back\b|\bwon back\b": "recovers",
    r"\ba run of it\b|\bA run of it\b": "an example run",
}
CODE = re.compile(r"``[^`]*``|`[^`\n]*`")
GENERATED = (
    "docs/accidents.md",
    "examples/quickstart/report.md",
    "examples/ablation/small/report.md",
    "examples/ablation/encoder/cpu/report.md",
    "examples/ablation/encoder/gpu/report.md",
)


class Finding(NamedTuple):
    """A turn of phrase.

    Args:
        path, line: its place.
        words: the matched text.
        better: what to write instead.
    """

    path: str
    line: int
    words: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words!r}: {self.better}"


def prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield ``(line number, text)`` of what people read: documents, comments of scripts, comments and strings of code.

    Strings without two spaces are names, not prose. Code in documents is skipped.
    """
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            middle = getattr(tokenize, "FSTRING_MIDDLE", -1)
            if token.type == tokenize.COMMENT or (
                token.type in (tokenize.STRING, middle) and token.string.count(" ") >= 2
            ):
                yield from enumerate(CODE.sub("``", token.string).split("\n"), token.start[0])
        return
    code = False
    for number, line in enumerate(text.split("\n"), 1):
        code ^= line.lstrip().startswith("```")
        if path.suffix == ".md" and not code:
            yield number, CODE.sub("``", line)
        elif path.suffix in (".sh", ".yml", ".yaml", ".toml", ".txt") and ("#" in line or "echo" in line):
            yield number, line


def check(path: Path, text: str) -> list[Finding]:
    """Return the findings in a file."""
    return [
        Finding(str(path), number, match.group(), better)
        for number, line in prose(path, text)
        for rule, better in RULES.items()
        for match in re.finditer(rule, line)
    ]


def tracked() -> list[Path]:
    """Return the files of the repository to check, without generated ones."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not names:  # a copy without .git
        kinds = (".py", ".md", ".sh")
        folders = [ROOT / name for name in ("langsamp_plugin", "scripts", "examples", "docs", "tests")]
        names = [
            str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*") if path.suffix in kinds
        ]
    skipped = (*GENERATED, "scripts/check_words.py", "tests/unit/test_words.py")
    return [Path(name) for name in sorted(names) if name not in skipped and (ROOT / name).is_file()]


def main() -> None:
    """Check the named files, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files or tracked()
    kinds = (".py", ".md", ".sh", ".yml", ".yaml", ".toml", ".txt")
    found = [
        finding
        for path in files
        if path.suffix in kinds
        for finding in check(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    print(*found, f"{len(found)} findings in {len(files)} files", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
