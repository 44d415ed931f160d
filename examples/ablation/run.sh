#!/usr/bin/env bash
# The paper's ablation on your text: the same training without tables, with one of them, and with both.
#
#   bash examples/ablation/run.sh --size smoke     minutes on a CPU: eight languages, a test that everything works
#   bash examples/ablation/run.sh --size small     two cores, hours: every language of the corpus, two seeds
#   bash examples/ablation/run.sh --size encoder --start XLMR-FOLDER
#                                                  continues from a published encoder, seven arms: two cores, hours;
#                                                  a large GPU, minutes
#   bash examples/ablation/run.sh --size gpu --start XLMR-FOLDER
#                                                  one large GPU, bf16: the same with every language and more updates
#
#   --corpus DIR|ARCHIVE   text: what `langsamp corpus` reads, or a .tar.xz of it (default: ../shared/data, or else the
#                          Django package's catalogues)
#   --eval DIR             a folder per task, as `langsamp evaluate` reads it (default: where the corpus comes from)
#   --pairs DIR|ARCHIVE    encoder, gpu: parallel text, as `langsamp pairs` reads it (default: where the corpus comes from)
#   --out DIR              default runs/ablation-SIZE; run again, it skips finished work and resumes where it was killed
#   --seeds 1,2            seeds of the training runs
#   --updates N            length of the training runs; encoder, gpu: one or several, such as 100,300
#   --langs TAGS           only these languages of the corpus
#   --arms "vanilla both"  encoder, gpu: only these of vanilla, both, shuffled, lang, script, even, pairs
#   --head-updates N       encoder, gpu: updates of the head before all arms
#   --batch N              encoder, gpu: blocks of text per step of a training run (gpu: an update has four steps)
#   --precision P          encoder, gpu: fp32 or bf16, of the training runs and of encoding (default: fp32; gpu: bf16);
#                          bf16 is the faster one where the processor multiplies in it (avx512_bf16, amx_bf16)
#   --limit N              sentences per evaluation file; 0: all
#   --jobs N               training runs in parallel (default: one per core, at most four; gpu: one)
set -euo pipefail

# A second bash, in a separate process group, does all the work. This one waits for it, as bash acts on a signal at once
# only while it waits. The group ends when the work fails, or on Ctrl-C or SIGTERM; training runs save first.
is_active() { ps -eo pgid=,stat= | awk -v group="$1" '$1 == group && $2 !~ /^Z/ { found = 1 } END { exit !found }' ; }
end_group() {
    kill -s TERM -- "-$1" 2> /dev/null || kill -s TERM "$1" 2> /dev/null || true # the group may not exist yet
    while is_active "$1"; do sleep 0.2; done
}
stopped() { # stopped SIGNAL
    trap '' HUP INT TERM
    [ -z "${!:-}" ] || end_group "$!"
    echo "run.sh: stopped; run the same command again to resume" >&2
    trap - "$1"
    kill -s "$1" $$
}
if [ "${1:-}" = --work ]; then
    shift
else
    for signal in HUP INT TERM; do trap "stopped $signal" "$signal"; done
    setsid bash "$0" --work "$@" &
    wait "$!" && exit
    status=$?
    end_group "$!"
    exit "$status"
fi

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
    echo "run.sh: $1; see the head of examples/ablation/run.sh" >&2
    exit 2
}

are_counts() { [[ $1 =~ ^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$ ]] ; }

size="" corpus="" eval="" pairs="" out="" seeds="" updates="" langs="" start="" arms="" head_updates="" limit="" jobs="" batch="" precision=""
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" ; exit 0 ;;
        --size | --corpus | --eval | --pairs | --out | --seeds | --updates | --langs | --start | --arms | --head-updates | --limit | --jobs | --batch | \
            --precision)
            [ $# -ge 2 ] || usage "$1 needs a value"
            name=${1#--}
            printf -v "${name//-/_}" %s "$2"
            shift 2 ;;
        *) usage "unknown option $1" ;;
    esac
done

for name in batch head_updates jobs; do
    [[ ${!name:-1} =~ ^[1-9][0-9]{0,8}$ ]] || usage "--${name//_/-} must be a number from 1, but is '${!name}'"
done
[ -z "$seeds" ] || [[ $seeds =~ ^[0-9]{1,9}(,[0-9]{1,9})*$ ]] || usage "--seeds must be numbers, such as 1,2, but is '$seeds'"
[ -z "$updates" ] || are_counts "$updates" || usage "--updates must be a number from 1, or several, such as 100,300, but is '$updates'"
[[ ${precision:-fp32} =~ ^(fp32|bf16)$ ]] || usage "--precision must be fp32 or bf16, but is '$precision'"
[[ $limit =~ ^[0-9]{0,9}$ ]] || usage "--limit must be a number (0: all sentences), but is '$limit'"
for name in $arms; do
    case $name in
        vanilla | both | shuffled | lang | script | even | pairs) ;;
        *) usage "--arms must be of vanilla, both, shuffled, lang, script, even and pairs, separated by spaces, but has '$name'" ;;
    esac
done
case $size in
    smoke | small)
        [ -z "$start$arms$pairs$batch$head_updates$precision" ] ||
            usage "--start, --arms, --pairs, --batch, --head-updates and --precision belong to --size encoder and gpu"
        [[ $updates != *,* ]] || usage "--updates must be one number with --size $size, but is '$updates'" ;;
esac

# Sizes: pieces of the tokenizer, model, batch x tokens, learning rate and its warm-up, held-out lines per language,
# sentences per evaluation file (0: all). From an encoder: updates and learning rate of the head, and the factor of the
# tables' learning rate.
alpha=0.3 optimizer=adam
case $size in
    smoke) pieces=2000 arch=(langsamp_roberta_tiny --encoder-layers 2 --encoder-embed-dim 64 --encoder-ffn-embed-dim 128)
        batch=16 tokens=32 lr=2e-3 warmup=10 valid=10 limit=${limit:-30} updates=${updates:-60} seeds=${seeds:-1} ;;
    small) pieces=16000 arch=(langsamp_roberta_tiny)
        batch=32 tokens=64 lr=7e-4 warmup=200 valid=20 limit=${limit:-100} updates=${updates:-1000} seeds=${seeds:-1,2} ;;
    encoder) batch=${batch:-16} tokens=64 update_freq=1 lr=2e-4 head_lr=2e-3 head_updates=${head_updates:-250} scale=10 save=1000000
        precision=${precision:-fp32} valid=20 limit=${limit:-40} lengths=${updates:-100,300} seeds=${seeds:-1,2,3} ;;
    gpu) batch=${batch:-256} tokens=128 update_freq=4 lr=2e-4 head_lr=2e-3 head_updates=${head_updates:-100} scale=10 save=500
        precision=${precision:-bf16} valid=50 limit=${limit:-200} lengths=${updates:-500,2000} seeds=${seeds:-1} arms=${arms:-vanilla both shuffled} jobs=${jobs:-1} ;;
    *) usage "--size must be smoke, small, encoder or gpu" ;;
esac
from_encoder=""
case $size in
    encoder | gpu) from_encoder=yes alpha=0.5 optimizer=fused_adamw
        [ -f "$start/config.json" ] || usage "--size $size needs --start, an XLM-R folder" ;;
esac

bash "$root/scripts/install.sh"
export PATH="$root/.venv/bin:$PATH" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
# torch takes large tensors from huge pages: on some CPUs, a quarter of a step is page faults otherwise.
export THP_MEM_ALLOC_ENABLE=1
out=$(realpath -m "${out:-$root/runs/ablation-$size}")
mkdir -p "$out/eval"
# Training runs inherit the lock, so that a killed run.sh is not run again while they are still active.
exec 9> "$out/.lock"
flock -n 9 || { echo "run.sh: another run is using $out; wait for it, or end it and its training runs" >&2 ; exit 1 ; }

shared=$root/../shared/data
if [ "$size" = smoke ] && [ "${corpus:-django}" = django ]; then
    langs=${langs:-eng_Latn,rus_Cyrl,hin_Deva,ind_Latn,ben_Beng,tur_Latn,kab_Latn,tat_Cyrl}
fi
if [ -z "$corpus" ]; then
    if [ -f "$shared/corpus/corpus.tar.xz" ]; then
        corpus=$shared/corpus/corpus.tar.xz eval=${eval:-$shared/eval}
        [ -n "$from_encoder" ] && pairs=${pairs:-$shared/udhr/udhr.tar.xz}
    else
        corpus=django
    fi
fi
[[ " $arms " != *" pairs "* ]] || [ -n "$pairs" ] || usage "--arms pairs needs parallel text, --pairs"

# Seeds, lengths and arms of an encoder's study may be added later.
settings="size=$size corpus=$corpus eval=$eval seeds=$seeds updates=$updates langs=$langs start=$start"
[ -n "$from_encoder" ] && settings="size=$size corpus=$corpus eval=$eval pairs=$pairs langs=$langs start=$start limit=$limit head=$head_updates batch=$batch precision=$precision"
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

measured() { # measured "what it measures" command...
    local what=$1
    shift
    "$@" || { echo "run.sh: failed: $what; fix it and run the same command again" >&2 ; return 1 ; }
}

# --- training runs, several in parallel ---------------------------------------------------------------------------------
folder=$out more=(--cpu)
train() { # train NAME TABLES SEED more...
    local name=$1 tables=$2 seed=$3
    shift 3
    [ -f "$folder/models/$name/done" ] && return
    mkdir -p "$folder/models/$name"
    echo "== training $name; its log: $folder/models/$name/train.log"
    fairseq-train "$out/data-bin" --user-dir "$root/langsamp_plugin" --task langsamp_masked_lm --criterion langsamp_masked_lm \
        --arch "${arch[@]}" --embed-tags "$tables" --seed "$seed" --tokens-per-sample "$tokens" --batch-size "$batch" \
        --multilang-sampling-alpha "$alpha" --optimizer "$optimizer" --adam-betas '(0.9,0.98)' --clip-norm 1.0 --num-workers 0 \
        --save-interval 100000 --validate-interval 100000 --save-interval-updates "${save:-$(((updates + 1) / 2))}" --keep-interval-updates 1 \
        --no-epoch-checkpoints --log-format simple --log-interval 50 --save-dir "$folder/models/$name" \
        "${more[@]}" "$@" >> "$folder/models/$name/train.log" 2>&1 &&
        [ -f "$folder/models/$name/validation/$updates.tsv" ] && # a training that SIGTERM stopped also ends with 0
        touch "$folder/models/$name/done" ||
        { tail -n 3 "$folder/models/$name/train.log" >&2 ; echo "run.sh: training $name failed or was stopped; run the same command again to resume" >&2 ; return 1 ; }
}
# Small models train fastest with one run per core; on a GPU, one run at a time.
jobs=${jobs:-$(($(nproc) < 4 ? $(nproc) : 4))}
[ "$size" = gpu ] || threads=$(($(nproc) / jobs))
[ "$size" = gpu ] || export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
running=()
wait_for_room() { # wait_for_room N: until fewer than N training runs are active
    while [ ${#running[@]} -ge "$1" ] && [ ${#running[@]} -gt 0 ]; do
        local left=() process
        for process in "${running[@]}"; do
            if kill -0 "$process" 2>/dev/null; then left+=("$process") ; else wait "$process" || exit 1 ; fi
        done
        running=("${left[@]+"${left[@]}"}")
        [ ${#running[@]} -lt "$1" ] || sleep 2
    done
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
for task in sr_bible sr_tatoeba taxi1500 sib200 ner pos; do
    if [ -f "$eval/$task/$task.tar.xz" ]; then
        step "evaluation data of $task" "$out/eval/.$task" tar -xf "$eval/$task/$task.tar.xz" -C "$out/eval"
    elif [ -d "$eval/$task" ]; then
        ln -sfn "$(realpath "$eval/$task")" "$out/eval/$task"
    fi
done
if [ -n "$from_encoder" ]; then
    source "$here/encoder.sh"
    exit
fi
step "tokenizer" "$out/spm.model" langsamp tokenizer train "$text" --vocab-size "$pieces" --out "$out/spm.model" --langs "$langs"
step "binarizing" "$out/data-bin/dict.txt" langsamp binarize "$text" "${held_out[@]}" --spm "$out/spm.model" \
    --out "$out/data-bin" --workers "$(nproc)" --langs "$langs"

# --- four models per seed, and an untrained one -------------------------------------------------------------------------
schedule=(--lr "$lr" --lr-scheduler polynomial_decay --warmup-updates "$warmup" --total-num-update "$updates" --max-update "$updates")
for seed in ${seeds//,/ }; do
    for pair in vanilla:none lang:lang script:script both:both; do
        wait_for_room "$jobs"
        train "${pair%:*}-$seed" "${pair#*:}" "$seed" "${schedule[@]}" &
        running+=($!)
    done
done
wait_for_room 1
# One update at learning rate 0: the models before training, the control for everything below.
updates=1 train untrained both "${seeds%%,*}" --lr 0 --lr-scheduler fixed --max-update 1

# --- export, evaluation, analysis, report ----------------------------------------------------------------------------
export OMP_NUM_THREADS=$(nproc)
measured "the measurements" python "$here/measure.py" "$out" --limit "$limit" --langs "$([ "$size" = smoke ] && echo "$langs")"
measured "the report" python "$here/report.py" "$out"
