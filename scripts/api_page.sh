#!/usr/bin/env bash
# Makes the API pages from the docstrings: build/api/index.html. Needs an environment with torch, fairseq and pdoc;
# .venv of this clone is taken where it has been set up.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -x .venv/bin/python ] || export PATH="$PWD/.venv/bin:$PATH"
python -c 'import pdoc' 2>/dev/null || {
    echo "api_page.sh: pdoc is missing: $(command -v python) -m pip install 'pdoc>=14'" >&2
    exit 1
}
rm -rf build/api
# A package with __all__ would hide its modules, so all are named; pdoc then warns of each that it had found itself,
# and of the annotations of every NamedTuple's hidden constructor.
find langsamp_plugin -name '[a-z]*.py' | sort | sed 's/\.py$//; s/\//./g' |
    xargs python -W 'ignore:The module specification' -W 'ignore:Error parsing type annotation' \
        -m pdoc --docformat google --output-directory build/api langsamp_plugin
echo "build/api/index.html: open it in a browser"
