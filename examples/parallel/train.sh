#!/usr/bin/env bash
# Masked-LM, both tables and pairs of translations in one run, on your own text, compared with the same model untrained.
#
#   bash train.sh CORPUS PAIRS OUT [more flags of fairseq-train]
#
# CORPUS   a folder of <tag>.txt, such as deu_Latn.txt: text of each language
# PAIRS    parallel text in any layout that `langsamp pairs` reads
# OUT      gets pairs/, spm.model, data-bin/, checkpoints/, hf/, results/; run again, it resumes where it stopped
# PIECES   pieces of the vocabulary (default 8000)
# UPDATES  updates (default 1300)
# The model is tiny and trains on a CPU; a later flag replaces an earlier one, so that you can name another --arch.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 ; exit 2 ; }
corpus=$1 pairs=$2 out=$3 updates=${UPDATES:-1300}
shift 3

train() {
    fairseq-train "$out/data-bin" --user-dir "$(langsamp user-dir)" --cpu \
        --task langsamp_masked_lm --arch langsamp_roberta_tiny --criterion langsamp_masked_lm \
        --tokens-per-sample 64 --batch-size 16 --multilang-sampling-alpha 0.7 --num-workers 0 \
        --optimizer adam --adam-betas '(0.9,0.98)' --seed 1 --log-format simple --log-interval 25 --no-epoch-checkpoints "$@"
}

mkdir -p "$out"
[ -f "$out/spm.model" ] || langsamp tokenizer train "$corpus" --vocab-size "${PIECES:-8000}" --out "$out/spm.model"
[ -d "$out/pairs" ] || langsamp pairs "$pairs" --out "$out/pairs" --held-out 10
langsamp binarize "$corpus" --spm "$out/spm.model" --out "$out/data-bin" --pairs "$out/pairs"
train --align-share 0.5 --align-pairs 96 --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 100 \
    --total-num-update "$updates" --max-update "$updates" --save-interval 100000 --validate-interval 100000 \
    --save-interval-updates 250 --keep-interval-updates 1 --save-dir "$out/checkpoints" "$@"
# The control: the same random weights after one update with a learning rate of 0.
[ -f "$out/untrained/checkpoint_last.pt" ] || train "$@" --lr 0 --lr-scheduler fixed --max-update 1 \
    --disable-validation --save-dir "$out/untrained"

[ -d "$out/hf" ] || langsamp export "$out/checkpoints/checkpoint_last.pt" --out "$out/hf" --verify
for model in "$out/hf" "$out/untrained/checkpoint_last.pt"; do
    name=$([ "$model" = "$out/hf" ] && echo trained || echo untrained)
    langsamp evaluate "$model" --tasks sr_bible --data "$out/pairs/valid" --out "$out/results" --name "$name"
done
[ -f "$out/tags.json" ] || langsamp analyze tags "$out/checkpoints/checkpoint_last.pt" --out "$out/tags.json"
