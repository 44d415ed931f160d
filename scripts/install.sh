#!/usr/bin/env bash
# Makes .venv inside the clone with everything that the quickstart and the tests need, in pinned versions.
# Called by quickstart.sh and test.sh; does nothing when it has run before. PYTHON=python3.12 chooses an interpreter.
# For an environment of your own that has torch and fairseq already, run instead: pip install -e .
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "install.sh: needs Python 3.11 or 3.12 (the pinned fairseq has wheels for these); set PYTHON=/path/to/python3.11" >&2
    exit 1
}

stamp=$(cat requirements/*.txt setup.py | cksum | tr ' ' -)
if [ "$(cat .venv/installed 2>/dev/null)" = "$stamp" ]; then
    exit 0
fi
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "install.sh: the pinned fairseq has wheels for Linux on x86-64 only; elsewhere install torch and fairseq yourself, then: pip install -e ." >&2
    exit 1
fi
python=$(find_python)
echo "install.sh: setting up .venv with $("$python" --version)"
[ -x .venv/bin/python ] || "$python" -m venv .venv || {
    echo "install.sh: could not make .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
}
# --no-compile: most modules of these packages are never imported; the others are compiled on their first import.
install() { .venv/bin/python -m pip --disable-pip-version-check install --no-compile "$@"; }
# torch first and alone: later packages then find it there and do not bring another build.
install -r requirements/torch.txt
install --no-deps --require-hashes -r requirements/fairseq.txt
# --no-deps: the lock is complete, and pip would otherwise follow fairseq to torchaudio.
install --no-deps -r requirements/lock.txt
install --no-deps -e .
.venv/bin/python -c 'import fairseq, langsamp_plugin, transformers' 2>/dev/null || {
    echo "install.sh: the packages are installed but cannot be imported; remove .venv and run again" >&2
    exit 1
}
echo "$stamp" > .venv/installed
echo "install.sh: done"
