#!/usr/bin/env bash
# One command for a machine with a GPU: parity, speed, memory and a resume, in at most eight minutes.
#
#   bash scripts/gpu_report.sh OUT [--data DATA-BIN] [--encoder HF-DIR] [--tiny]
# Each part runs separately, so that a failure or lack of memory costs one row and does not end the run. OUT gets report.md and
# report.json. --data is a binarized folder (default: the demo corpus, binarized first), --encoder a model whose encoding is
# timed, --tiny reduces all sizes, for a machine without a GPU.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 ; exit 2 ; }
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec python "$root/scripts/gpu_report.py" "$@"
