import re
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

from support import ROOT

import langsamp_plugin


def test_installing_never_touches_torch_or_fairseq():
    """Neither the package nor an extra asks for them, or for a package that would bring another torch."""
    names = {
        requirement.split(">")[0].split("=")[0].split("[")[0].strip().lower()
        for requirement in requires("langsamp-plugin")
    }
    assert names and not names & {
        "torch",
        "torchaudio",
        "torchvision",
        "fairseq",
        "ve-fairseq",
        "apex",
        "sentence-transformers",
        "accelerate",
    }


def test_published_tables_are_packaged():
    names = {path.name for path in (Path(langsamp_plugin.__file__).parent / "assets").iterdir()}
    assert names >= {"families.tsv", "languages.tsv", "scripts.tsv", "xlmr_tags.tsv"}
    patterns = re.findall(r'"assets/([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert [name for name in sorted(names) if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_folders_that_fairseq_would_mistake_for_its_own_are_no_packages():
    """fairseq has packages named examples and scripts, and --user-dir puts this folder first on the path."""
    assert not [name for name in ("examples", "scripts") if (ROOT / name / "__init__.py").exists()]
