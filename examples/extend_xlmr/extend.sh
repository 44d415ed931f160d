#!/usr/bin/env bash
# From a published XLM-R and a folder of text to a data folder and a starting checkpoint with a longer vocabulary.
#
#   bash extend.sh XLM-R-FOLDER CORPUS OUT [PIECES]
#
# XLM-R-FOLDER  config.json, model.safetensors, sentencepiece.bpe.model, as Hugging Face has it
# CORPUS        any source that `langsamp corpus` reads
# OUT           gets corpus/, extended.model, start/model.pt, data-bin/; run again, it resumes where it stopped
# PIECES        pieces to train on the corpus (default 250000); those that XLM-R lacks are appended
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 corpus=$2 out=$3 pieces=${4:-250000}
workers=$(nproc)

langsamp corpus "$corpus" --out "$out/corpus" --dedup --workers "$workers"
langsamp check "$out/corpus" --out "$out/check.tsv" --workers "$workers"
[ -f "$out/extended.model" ] || langsamp tokenizer extend "$model/sentencepiece.bpe.model" "$out/corpus" \
    --vocab-size "$pieces" --out "$out/extended.model"
[ -f "$out/start/model.pt" ] || langsamp init "$model" --spm "$out/extended.model" --corpus "$out/corpus" \
    --out "$out/start/model.pt" --verify
langsamp binarize "$out/corpus" --spm "$out/extended.model" --out "$out/data-bin" --tables glot500 --workers "$workers"
echo "next: train from $out/start/model.pt on $out/data-bin, section 3 of $(dirname "$0")/README.md"
