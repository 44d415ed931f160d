#!/usr/bin/env bash
# Installs what the tests need into .venv and runs all of them, after the linter and the type checker; arguments go to pytest.
# Tests that need the data collection in ../shared say so and are skipped where it is absent.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ruff check .
mypy
# A file's tests stay together, so that what they share is made once; the folder with the longest tests comes first.
python -m pytest --durations=20 -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
