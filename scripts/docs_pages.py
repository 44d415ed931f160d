"""Collects the pages of the site in build/docs: the repository's documents, and one page per folder of the code."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "docs"
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "examples/**/*.md",
)


def collect() -> None:
    """Write build/docs."""
    shutil.rmtree(OUT, ignore_errors=True)
    documents = [path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]
    for path in documents:
        text = path.read_text(encoding="utf-8")
        write(path.relative_to(ROOT), text)
        for link in re.findall(r"\]\(([^)#\s]+)\)", text):
            target = path.parent / link
            if "://" not in link and target.is_file() and target not in documents:
                place = OUT / target.resolve().relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(target, place)
    for name, modules in rooms().items():
        lines = [f"# {name}", ""]
        for module in modules:
            lines += [f"::: {module}", ""]
        write(Path("api") / f"{name}.md", "\n".join(lines))


def rooms() -> dict[str, list[str]]:
    """Return the modules of each folder; those of the package itself are listed under ``langsamp_plugin``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "langsamp_plugin").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        room = parts[1] if len(parts) > 1 and (ROOT / "langsamp_plugin" / parts[1]).is_dir() else parts[0]
        found.setdefault(room, []).append(".".join(parts))
    return found


def write(place: Path, text: str) -> None:
    """Write a page below build/docs."""
    path = OUT / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    collect()
