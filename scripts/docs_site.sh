#!/usr/bin/env bash
# Builds the documentation site from README.md, docs/, the examples and the docstrings: build/site/index.html.
# Broken links, anchors and cross-references are errors. Needs `pip install -e '.[docs]'`, or .venv of scripts/install.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -x .venv/bin/python ] || export PATH="$PWD/.venv/bin:$PATH"
python scripts/docs_pages.py
NO_MKDOCS_2_WARNING=1 PYTHONPATH=scripts python -m mkdocs build --strict
echo "build/site/index.html: open it in a browser"
