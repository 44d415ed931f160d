#!/usr/bin/env bash
# The paper's ablation on your text: the same training without tables, with one of them, and with both.
#
#   bash examples/ablation/run.sh --size smoke     minutes on a CPU: eight languages, does it all work?
#   bash examples/ablation/run.sh --size small     two cores, hours: every language of the corpus, two seeds
#   bash examples/ablation/run.sh --size gpu --start XLMR-FOLDER
#                                                  one large GPU: continues from a published encoder, in bf16
#
#   --corpus DIR|ARCHIVE   text: what `langsamp corpus` reads, or a .tar.xz of it (default: ../shared/data, or else the
#                          Django package's catalogues)
#   --eval DIR             a folder per task, as `langsamp evaluate` takes it (default: where the corpus comes from)
#   --out DIR              default runs/ablation-SIZE; run again, it skips finished work and resumes where it was killed
#   --seeds 1,2            seeds of the trainings
#   --updates N            other lengths of the trainings
#   --langs TAGS           only these of the corpus
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
    echo "run.sh: $1; see the head of examples/ablation/run.sh" >&2
    exit 2
}

size="" corpus="" eval="" out="" seeds="" updates="" langs="" start=""
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0" ; exit 0 ;;
        --size | --corpus | --eval | --out | --seeds | --updates | --langs | --start)
            [ $# -ge 2 ] || usage "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift 2 ;;
        *) usage "unknown option $1" ;;
    esac
done

# Sizes: pieces of the tokenizer, model, batch x tokens, learning rate and its warm-up, held-out lines per language,
# sentences per evaluation file (0: all).
case $size in
    smoke) pieces=2000 arch=(langsamp_roberta_tiny --encoder-layers 2 --encoder-embed-dim 64 --encoder-ffn-embed-dim 128)
        batch=16 tokens=32 lr=2e-3 warmup=10 valid=10 limit=30 updates=${updates:-60} seeds=${seeds:-1} ;;
    small) pieces=16000 arch=(langsamp_roberta_tiny)
        batch=32 tokens=64 lr=7e-4 warmup=200 valid=20 limit=100 updates=${updates:-1000} seeds=${seeds:-1,2} ;;
    gpu) pieces=100000 arch=(langsamp_roberta)
        batch=64 tokens=512 lr=1e-4 warmup=100 valid=50 limit=0 updates=${updates:-3000} seeds=${seeds:-1} ;;
    *) usage "--size must be smoke, small or gpu" ;;
esac
[ "$size" = gpu ] && [ ! -f "$start/config.json" ] && usage "--size gpu needs --start, an XLM-R folder"
[ "$size" != gpu ] && [ -n "$start" ] && usage "--start belongs to --size gpu"

bash "$root/scripts/install.sh"
export PATH="$root/.venv/bin:$PATH" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
out=$(realpath -m "${out:-$root/runs/ablation-$size}")
mkdir -p "$out/eval"

shared=$root/../shared/data
if [ -z "$corpus" ]; then
    common=eng_Latn,rus_Cyrl,hin_Deva,ind_Latn,ben_Beng,tur_Latn,kab_Latn,tat_Cyrl
    [ "$size" = smoke ] && langs=${langs:-$common}
    if [ -f "$shared/corpus/corpus.tar.xz" ]; then
        corpus=$shared/corpus/corpus.tar.xz eval=${eval:-$shared/eval}
    else
        corpus=django
    fi
fi

settings="size=$size corpus=$corpus eval=$eval seeds=$seeds updates=$updates langs=$langs start=$start"
[ -f "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ] &&
    usage "$out was made with other settings ($(cat "$out/settings")); remove it or choose another --out"
echo "$settings" > "$out/settings"

step() { # step "what it does" FILE-IT-MAKES command...
    local what=$1 made=$2
    shift 2
    [ -e "$made" ] && return
    echo "== $what"
    "$@" || { echo "run.sh: failed: $what; fix it and run the same command again" >&2 ; exit 1 ; }
    [ -e "$made" ] || touch "$made"
}

# --- text, tokenizer, data -------------------------------------------------------------------------------------------
held_out=(--valid-lines "$valid")
if [ "$corpus" = django ]; then
    step "corpus" "$out/django" langsamp corpus django --out "$out/django" --langs "$langs"
    text=$out/django/train held_out=(--valid "$out/django/valid") eval=${eval:-$out/django/none}
    [ -d "$eval" ] || ln -sfn "$out/django/aligned" "$out/eval/sr_bible"
elif [ -d "$corpus" ]; then
    step "corpus" "$out/.corpus" langsamp corpus "$corpus" --out "$out/corpus" --dedup --workers "$(nproc)" --langs "$langs"
    text=$out/corpus
else
    step "corpus" "$out/.corpus" tar -xf "$corpus" -C "$out"
    text=$out/corpus
fi
for task in sr_bible sr_tatoeba taxi1500 sib200; do
    if [ -f "$eval/$task/$task.tar.xz" ]; then
        step "evaluation data of $task" "$out/eval/$task" tar -xf "$eval/$task/$task.tar.xz" -C "$out/eval"
    elif [ -d "$eval/$task" ]; then
        ln -sfn "$(realpath "$eval/$task")" "$out/eval/$task"
    fi
done
more=()
if [ -n "$start" ]; then
    # What the real encoder is: its sizes go into the architecture, its weights into the backbone.
    read -ra sizes <<< "$(python - "$start/config.json" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))
print("--encoder-layers", config["num_hidden_layers"], "--encoder-embed-dim", config["hidden_size"],
      "--encoder-ffn-embed-dim", config["intermediate_size"], "--encoder-attention-heads", config["num_attention_heads"],
      "--layer-norm-eps", config.get("layer_norm_eps", 1e-12))
PY
)"
    arch+=("${sizes[@]}")
    step "tokenizer" "$out/spm.model" langsamp tokenizer extend "$start/sentencepiece.bpe.model" "$text" \
        --vocab-size "$pieces" --out "$out/spm.model" --langs "$langs"
    step "starting checkpoint" "$out/start/model.pt" langsamp init "$start" --spm "$out/spm.model" --out "$out/start/model.pt" --verify
    more=(--finetune-from-model "$out/start/model.pt" --bf16)
else
    step "tokenizer" "$out/spm.model" langsamp tokenizer train "$text" --vocab-size "$pieces" --out "$out/spm.model" --langs "$langs"
    more=(--cpu)
fi
step "binarizing" "$out/data-bin/dict.txt" langsamp binarize "$text" "${held_out[@]}" --spm "$out/spm.model" \
    --out "$out/data-bin" --workers "$(nproc)" --langs "$langs"

# --- four models a seed, and one that is not trained ------------------------------------------------------------------
train() { # train NAME TABLES SEED more...
    local name=$1 tables=$2 seed=$3
    shift 3
    [ -f "$out/models/$name/done" ] && return
    mkdir -p "$out/models/$name"
    echo "== training $name; its log: $out/models/$name/train.log"
    fairseq-train "$out/data-bin" --user-dir "$root/langsamp_plugin" --task langsamp_masked_lm --criterion langsamp_masked_lm \
        --arch "${arch[@]}" --embed-tags "$tables" --seed "$seed" --tokens-per-sample "$tokens" --batch-size "$batch" \
        --multilang-sampling-alpha 0.3 --optimizer adam --adam-betas '(0.9,0.98)' --clip-norm 1.0 --num-workers 0 \
        --save-interval 100000 --validate-interval 100000 --save-interval-updates $(((updates + 1) / 2)) --keep-interval-updates 1 \
        --no-epoch-checkpoints --log-format simple --log-interval 50 --save-dir "$out/models/$name" \
        "${more[@]}" "$@" >> "$out/models/$name/train.log" 2>&1 &&
        touch "$out/models/$name/done" ||
        { tail -n 3 "$out/models/$name/train.log" >&2 ; echo "run.sh: training $name failed; run the same command again to resume" >&2 ; return 1 ; }
}
schedule=(--lr "$lr" --lr-scheduler polynomial_decay --warmup-updates "$warmup" --total-num-update "$updates" --max-update "$updates")
# Models this small train fastest one a core; on a GPU one after the other.
jobs=1
[ "$size" = gpu ] || { jobs=$(($(nproc) < 4 ? $(nproc) : 4)) ; export OMP_NUM_THREADS=$(($(nproc) / jobs)) ; }
running=()
trap 'kill "${running[@]}" 2>/dev/null || true' EXIT
wait_for_room() { # wait_for_room N: until fewer than N trainings run
    while [ ${#running[@]} -ge "$1" ] && [ ${#running[@]} -gt 0 ]; do
        local left=() process
        for process in "${running[@]}"; do
            if kill -0 "$process" 2>/dev/null; then left+=("$process") ; else wait "$process" ; fi
        done
        running=("${left[@]+"${left[@]}"}")
        [ ${#running[@]} -lt "$1" ] || sleep 2
    done
}
for seed in ${seeds//,/ }; do
    for pair in vanilla:none lang:lang script:script both:both; do
        wait_for_room "$jobs"
        train "${pair%:*}-$seed" "${pair#*:}" "$seed" "${schedule[@]}" &
        running+=($!)
    done
done
wait_for_room 1
# One update at learning rate 0, the control of everything below: what the models were before.
train untrained both "${seeds%%,*}" --lr 0 --lr-scheduler fixed --max-update 1

# --- export, evaluation, analysis, report ----------------------------------------------------------------------------
finetune=()
if [ "$size" = gpu ]; then finetune=(--finetune) ; else export OMP_NUM_THREADS=$(nproc) ; fi
python "$here/measure.py" "$out" --limit "$limit" --langs "$([ "$size" = smoke ] && echo "$langs")" "${finetune[@]+"${finetune[@]}"}"
python "$here/report.py" "$out"
