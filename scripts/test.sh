#!/usr/bin/env bash
# Installs what the tests need into .venv and runs all of them, after the linter and the type checker; arguments go to pytest.
# Tests that need the data collection in ../shared say so and are skipped where it is absent.
#   bash scripts/test.sh --quick     linters and unit tests of the core that start no process: under two minutes
set -euo pipefail
cd "$(dirname "$0")/.."
quick=()
if [ "${1:-}" = --quick ]; then
    shift
    for part in imports packaging words lang_script spelling corpus sources data_folder token_buffer language_blocks \
        sampling masking pair_data tag_embedding contrastive_loss metrics statistics report task_data; do
        quick+=("tests/unit/test_$part.py")
    done
fi
bash scripts/install.sh
unset PYTHONDONTWRITEBYTECODE # hundreds of processes would each compile the package
export PATH="$PWD/.venv/bin:$PATH" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
ruff check .
mypy
# A file's tests stay together, so that what they share is made once; the folder with the longest tests comes first.
# Not more workers than cores: tests with several processes wait for each other by spinning.
python -m pytest --durations=20 -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder "${quick[@]}" "$@"
