#!/usr/bin/env bash
# From nothing to a trained LangSAMP model, its scores and a picture: about ten minutes on two CPU cores.
#
#   bash scripts/quickstart.sh                     real text in 89 language-scripts, from the Django package
#   bash scripts/quickstart.sh --corpus DIR        your own folder of <tag>.txt, e.g. eng_Latn.txt; with parallel text:
#                                                  examples/parallel
#   bash scripts/quickstart.sh --langs deu_Latn,rus_Cyrl,hin_Deva
#   bash scripts/quickstart.sh --out DIR           another folder than runs/quickstart
#   bash scripts/quickstart.sh --updates N         shorter or longer training (default 500, without pairs 1300)
# If run again, it skips finished work; after a kill it resumes.
set -euo pipefail

usage() {
    echo "quickstart.sh: $1; see the head of scripts/quickstart.sh" >&2
    exit 2
}

corpus="" langs="" out="" updates=""
while [ $# -gt 0 ]; do
    case $1 in
        --corpus | --langs | --out | --updates) [ $# -ge 2 ] || usage "$1 needs a value" ;;
    esac
    case $1 in
        --corpus) corpus=$(realpath "$2" 2>/dev/null) && [ -d "$corpus" ] || usage "--corpus must be a folder, but is $2" ; shift 2 ;;
        --langs) langs=$2 ; shift 2 ;;
        --out) out=$(realpath -m "$2") ; shift 2 ;;
        --updates) [[ $2 =~ ^[1-9][0-9]*$ ]] || usage "--updates must be a number, but is $2" ; updates=$2 ; shift 2 ;;
        -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0" ; exit 0 ;;
        *) usage "unknown option $1" ;;
    esac
done

cd "$(dirname "$0")/.."
out=${out:-$PWD/runs/quickstart}
# An update with pairs takes as long as four without.
if [ -n "$corpus" ]; then updates=${updates:-1300}; else updates=${updates:-500}; fi
bash scripts/install.sh
export PATH="$PWD/.venv/bin:$PATH" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

mkdir -p "$out"
settings="corpus=$corpus langs=$langs updates=$updates"
if [ -f "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
    usage "$out was made with other settings ($(cat "$out/settings")); remove it or choose another --out"
fi
echo "$settings" > "$out/settings"
started=$SECONDS

step() { # step NUMBER "what it does" FILE-IT-MAKES command...
    local number=$1 what=$2 made=$3
    shift 3
    if [ -e "$made" ]; then
        echo "[$number/9] $what: done before"
        return
    fi
    echo "[$number/9] $what"
    "$@" || { local status=$? ; echo "quickstart.sh: step $number failed ($what); fix it and run the same command again" >&2 ; exit "$status" ; }
    [ -e "$made" ] || touch "$made"
}

# The plugin as any fairseq user calls it. Some hundred updates of 16 x 64 tokens are a demonstration, not a pretraining.
train() {
    fairseq-train "$out/data-bin" --user-dir langsamp_plugin \
        --task langsamp_masked_lm --arch langsamp_roberta_tiny --criterion langsamp_masked_lm --cpu \
        --tokens-per-sample 64 --batch-size 16 --multilang-sampling-alpha 0.7 --num-workers 0 \
        --optimizer adam --adam-betas '(0.9,0.98)' --seed 1 \
        --log-format simple --log-interval 25 --no-epoch-checkpoints "$@"
}
# Saves are also validations in fairseq, so one interval serves both: a killed run loses at most 250 updates.
train_model() {
    train "${aligned[@]+"${aligned[@]}"}" --lr 2e-3 --lr-scheduler polynomial_decay --warmup-updates 100 \
        --total-num-update "$updates" --max-update "$updates" --save-interval 100000 --validate-interval 100000 \
        --save-interval-updates 250 --keep-interval-updates 1 \
        --save-dir "$out/checkpoints" --tensorboard-logdir "$out/tensorboard"
}
# One update at learning rate 0: the same model before training, the control for every figure in the report.
train_untrained() {
    train --lr 0 --lr-scheduler fixed --max-update 1 --save-dir "$out/untrained" > "$out/untrained.log" 2>&1 ||
        { tail -n 5 "$out/untrained.log" >&2 ; return 1 ; }
}

if [ -z "$corpus" ]; then
    step 1 "real text in every language-script of Django's catalogues" "$out/corpus" \
        langsamp corpus django --out "$out/corpus" --langs "$langs"
    step 1 "pairs of translations" "$out/pairs" langsamp pairs django --out "$out/pairs" \
        --langs "$(basename -s .txt "$out"/corpus/train/*.txt | paste -sd,)"
    train_text="$out/corpus/train" held_out=(--valid "$out/corpus/valid" --pairs "$out/pairs")
    aligned=(--align-share 0.5 --align-pairs 96 --align-pivot eng_Latn --tables-lr-scale 5)
else
    echo "[1/9] corpus: $corpus"
    train_text=$corpus held_out=(--langs "$langs") aligned=()
fi
step 2 "SentencePiece model" "$out/spm.model" \
    langsamp tokenizer train "$train_text" --vocab-size 8000 --out "$out/spm.model"
step 3 "binarizing" "$out/.binarized" \
    langsamp binarize "$train_text" "${held_out[@]}" --spm "$out/spm.model" --out "$out/data-bin" --workers 2
step 4 "training with fairseq ($updates updates)" "$out/.trained" train_model
step 5 "the same model untrained, as a control" "$out/.untrained" train_untrained
step 6 "export to Hugging Face" "$out/hf" langsamp export "$out/checkpoints/checkpoint_last.pt" --out "$out/hf" --verify
step 6 "export of the control" "$out/hf_untrained" langsamp export "$out/untrained/checkpoint_last.pt" --out "$out/hf_untrained"
step 7 "held-out loss with right and wrong tags" "$out/tags.json" \
    langsamp analyze tags "$out/checkpoints/checkpoint_last.pt" --out "$out/tags.json"
step 7 "neighbours and maps of both tables" "$out/analysis/embeddings.json" \
    langsamp analyze embeddings "$out/hf" --out "$out/analysis"
if [ -z "$corpus" ]; then
    for model in hf hf_untrained; do
        step 8 "sentence retrieval against English ($model)" "$out/results/$model/sr_bible.json" \
            langsamp evaluate "$out/$model" --tasks sr_bible --data "$out/corpus/aligned" --out "$out/results"
    done
fi
echo "[9/9] report"
python scripts/quickstart_report.py "$out" --seconds $((SECONDS - started))
