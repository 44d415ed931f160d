#!/usr/bin/env bash
# Builds the wheel and the sdist, installs the wheel into a fresh environment of each Python, and uses it from there:
# --version, --help of every command, an export and an evaluation of the tiny model in tests/fixtures.
#   bash scripts/test_wheel.sh python3.10 python3.12
# Needs these interpreters and 2 GB of disk each; takes minutes, most of them for torch. The newest torch of pip's
# index is installed; TORCH=torch==2.6.0 asks for another.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
pythons=("$@")
[ $# -gt 0 ] || pythons=(python3.10 python3.12)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "test_wheel.sh: building"
# From a copy of the commit, so that untracked files of the working tree do not get into a package.
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
"${pythons[0]}" -m venv "$work/build"
"$work/build/bin/python" -m pip -q install build twine
"$work/build/bin/python" -m build -q --outdir "$work/dist" "$work/source"
"$work/build/bin/python" -m twine check --strict "$work"/dist/*
wheel=$(echo "$work"/dist/*.whl)
sdist=$(echo "$work"/dist/*.tar.gz)

for python in "${pythons[@]}"; do
    venv=$work/venv
    rm -rf "$venv" "$work/run"
    mkdir "$work/run"
    "$python" -m venv "$venv"
    echo "test_wheel.sh: $("$python" --version), $(basename "$wheel")"
    "$venv/bin/python" -m pip -q install "${TORCH:-torch}"
    "$venv/bin/python" -m pip -q install "$wheel[hf,eval]"
    cp -r tests/fixtures/earlier_formats "$work/run/model"
    cp scripts/use_wheel.sh "$work/run/use.sh"
    # Away from the clone, and without its PYTHONPATH: only what the wheel contains can be imported.
    (cd "$work/run" && env -u PYTHONPATH PATH="$venv/bin:$PATH" HF_HUB_OFFLINE=1 bash use.sh)
done

# The sdist must contain everything that the same wheel is built from.
"$work/build/bin/python" -m pip -q wheel --no-deps --wheel-dir "$work/again" "$sdist"
cmp <(unzip -Z1 "$wheel" | sort) <(unzip -Z1 "$work"/again/*.whl | sort)
echo "test_wheel.sh: the sdist builds the same $(unzip -Z1 "$wheel" | wc -l) files"
cd "$root"
echo "test_wheel.sh: passed"
