# Sourced by run.sh for the sizes encoder and gpu: what LangSAMP does to a real encoder.
#
# Each length of training has a folder updates-N with the layout of the other sizes: models/, hf/, results/, ...
# untouched/ has the encoder itself, with the head that all arms start from. encoder.md states what was decided before
# there were results.

ARMS_FIRST="vanilla both shuffled" ARMS_THEN="lang script even pairs"
declare -A arm=(
    [vanilla]="--embed-tags none"
    [lang]="--embed-tags lang --tables-lr-scale $scale"
    [script]="--embed-tags script --tables-lr-scale $scale"
    [both]="--embed-tags both --tables-lr-scale $scale"
    [even]="--embed-tags both"
    [pairs]="--embed-tags both --tables-lr-scale $scale --align-share 0.25 --align-pairs $batch"
    [shuffled]="--embed-tags both --tables-lr-scale $scale --shuffle-tags"
)

# --- languages, vocabulary, data ---------------------------------------------------------------------------------------
everything=()
[ "$size" = gpu ] && everything=(--all)
step "languages" "$out/languages.tsv" python "$here/languages.py" "$text" "$out/eval" "$out" --langs "$langs" "${everything[@]+"${everything[@]}"}"
langs=$(tail -n +2 "$out/languages.tsv" | cut -f 1 | paste -sd, -)
spm=()
if [ "$size" = encoder ]; then
    # Pieces that occur in none of these texts are dropped: the outputs do not change, and the embedding shrinks to a third.
    step "vocabulary" "$out/spm.model" langsamp tokenizer trim "$start/sentencepiece.bpe.model" "$out/texts" --out "$out/spm.model"
    spm=(--spm "$out/spm.model")
else
    copy() { cp "$1" "$2.part" && mv "$2.part" "$2" ; } # complete or absent
    step "vocabulary" "$out/spm.model" copy "$start/sentencepiece.bpe.model" "$out/spm.model"
fi
step "starting checkpoint" "$out/start/model.pt" langsamp init "$start" "${spm[@]+"${spm[@]}"}" --out "$out/start/model.pt" --verify
with_pairs=()
if [ -n "$pairs" ]; then
    exclude=()
    case $pairs in
        *.tar.*) mkdir -p "$out/pairs-source"
            step "unpacking parallel text" "$out/.pairs" tar -xf "$pairs" -C "$out/pairs-source" --strip-components 1
            pairs=$out/pairs-source ;;
    esac
    for task in sr_bible sr_tatoeba; do [ -d "$out/eval/$task" ] && exclude+=(--exclude "$out/eval/$task") ; done
    only=(--langs "$langs")
    if [ -f "$pairs/eng_Latn.txt" ]; then # a file per language; some of the languages may have none
        mkdir -p "$out/pairs-chosen"
        for tag in ${langs//,/ }; do [ ! -f "$pairs/$tag.txt" ] || ln -sfn "$(realpath "$pairs/$tag.txt")" "$out/pairs-chosen/$tag.txt" ; done
        pairs=$out/pairs-chosen only=()
    fi
    step "parallel text" "$out/pairs/counts.tsv" langsamp pairs "$pairs" --out "$out/pairs" "${only[@]+"${only[@]}"}" "${exclude[@]+"${exclude[@]}"}"
    with_pairs=(--pairs "$out/pairs")
fi
# Arms without pairs ignore those in the data folder.
step "binarizing" "$out/.binarized" langsamp binarize "$text" "${held_out[@]}" --spm "$out/spm.model" \
    --out "$out/data-bin" --workers "$(nproc)" --langs "$langs" "${with_pairs[@]+"${with_pairs[@]}"}"

# --- the head, trained on the unchanged encoder --------------------------------------------------------------------------
read -ra sizes <<< "$(python - "$start/config.json" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))
print("--encoder-layers", config["num_hidden_layers"], "--encoder-embed-dim", config["hidden_size"],
      "--encoder-ffn-embed-dim", config["intermediate_size"], "--encoder-attention-heads", config["num_attention_heads"],
      "--layer-norm-eps", config.get("layer_norm_eps", 1e-12), "--max-positions", config["max_position_embeddings"] - 2)
PY
)"
arch=(langsamp_roberta "${sizes[@]}")
more=(--update-freq "$update_freq")
on_gpu=$(python -c 'import torch; print("yes" if torch.cuda.is_available() else "")')
# At size encoder a run takes minutes and is saved at its end, and when SIGTERM stops it: fairseq validates with each
# save, which takes as long as fifty updates.
if [ "$size" = gpu ]; then
    more+=(--num-workers 4)
elif [ -n "$on_gpu" ]; then
    more+=(--no-save-optimizer-state)
else
    more+=(--cpu)
fi

folder=$out/untouched updates=$head_updates
OMP_NUM_THREADS=$(nproc) train untouched none 1 --finetune-from-model "$out/start/model.pt" --freeze-encoder --dropout 0 --attention-dropout 0 \
    --lr "$head_lr" --lr-scheduler polynomial_decay --warmup-updates $((updates / 10)) --total-num-update "$updates" --max-update "$updates"
[ "$precision" = fp32 ] || more+=("--$precision") # not for the head, which is trained on the encoder as it is

# --- arms, the most informative first; losses, then retrieval, then slower measurements -----------------------------------
measure() { # measure FOLDER NAME more...
    measured "the measurements of $2" python "$here/measure_encoder.py" "$1" "$2" --data "$out/eval" --limit "$limit" --langs "$langs" \
        --precision "$precision" "${@:3}"
}
report() {
    measured "the report" python "$here/report_encoder.py" "$out"
}
one() { # one ARM SEED: train it
    local words
    read -ra words <<< "${arm[$1]#--embed-tags }"
    train "$1-$2" "${words[0]}" "$2" --finetune-from-model "$out/untouched/models/untouched/checkpoint_last.pt" \
        --lr "$lr" --lr-scheduler polynomial_decay --warmup-updates $((updates / 10)) --total-num-update "$updates" \
        --max-update "$updates" "${words[@]:1}"
}
for_each() { # for_each "train|measure|both" "ARM:SEED:UPDATES ..." more...: in the background, at most --jobs at a time
    local run name
    for run in $2; do
        IFS=: read -r name seed updates <<< "$run"
        folder=$out/updates-$updates
        wait_for_room "$jobs"
        case $1 in
            train) one "$name" "$seed" & ;;
            measure) measure "$folder" "$name-$seed" "${@:3}" & ;;
            both) { one "$name" "$seed" && measure "$folder" "$name-$seed" ; } & ;;
        esac
        running+=($!)
    done
    wait_for_room 1
}
wanted() { # wanted ARM...: those of --arms that can be trained
    local name
    for name in "$@"; do
        [[ " ${arms:-$name} " = *" $name "* ]] && [ -n "$pairs" -o "$name" != pairs ] && echo "$name"
    done || true
}
printf 'lengths=%s\nseeds=%s\narms=%s\n' "$lengths" "$seeds" "$arms" > "$out/plan"
rounds=()
for seed in ${seeds//,/ }; do
    for turn in "$(wanted $ARMS_FIRST)" "$(wanted $ARMS_THEN)"; do
        for updates in ${lengths//,/ }; do
            round=""
            for name in $turn; do round+=" $name:$seed:$updates" ; done
            [ -z "$round" ] || rounds+=("$round")
        done
    done
done
if [ "$size" = encoder ] && [ -n "$on_gpu" ]; then # small runs share the GPU, so none waits for the end of a round
    measure "$out/untouched" untouched &
    running+=($!)
    for_each both "${rounds[*]}"
    rounds=()
fi
for round in "${rounds[@]+"${rounds[@]}"}"; do
    for_each train "$round"
    measure "$out/untouched" untouched --parts retrieval
    for_each measure "$round" --parts retrieval
    report
    measure "$out/untouched" untouched
    for_each measure "$round"
    report
done
[ ${#rounds[@]} -gt 0 ] || report
if [ "$size" = gpu ]; then # fine-tuning as in the paper comes last, because it takes longest
    for name in $(wanted vanilla both); do
        measure "$folder" "$name-${seeds%%,*}" --parts finetuning
    done
    report
fi
