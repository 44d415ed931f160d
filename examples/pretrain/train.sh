#!/usr/bin/env bash
# Continual pretraining with the paper's settings: 1,024 sequences of 512 tokens per update, for any number of GPUs.
#
#   bash train.sh DATA-BIN START.pt SAVE-DIR [more flags of fairseq-train]
#
# GPUS       number of GPUs over all nodes (default: those of this machine)
# BATCH      sequences on a GPU at a time (default 32; 16 on 24 GB, 64 or more on 80 GB)
# PRECISION  fp16 (default), bf16, or fp32
# LAUNCH     what starts the workers on several nodes, such as "torchrun --nnodes 2 --nproc-per-node 8 ... --no-python"
# The same command resumes where a killed one stopped; a later flag replaces an earlier one.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 ; exit 2 ; }
data=$1 start=$2 save=$3
shift 3

# torch counts only the GPUs that this job may use; nvidia-smi would also list those of others, and parts of a GPU.
gpus=${GPUS:-$(python -c 'import torch; print(torch.cuda.device_count())')}
gpus=$((gpus > 0 ? gpus : 1)) batch=${BATCH:-32} sequences=1024
if [ $((sequences % (batch * gpus))) -ne 0 ]; then
    most=$gpus
    while [ $((sequences % most)) -ne 0 ]; do most=$((most - 1)); done
    if [ "$most" -ne "$gpus" ]; then
        echo "train.sh: GPUS must divide $sequences, but is $gpus: set GPUS=$most" >&2
    else
        echo "train.sh: $gpus GPUS times $batch BATCH must divide $sequences: set BATCH=32, or another power of 2" >&2
    fi
    exit 2
fi
if [ -z "${GPUS:-}" ]; then
    unset SLURM_JOB_NODELIST SLURM_STEP_NODELIST # one machine: fairseq would look for Slurm's tasks inside an allocation
fi
# The number of masked positions changes from batch to batch, which would fragment segments of a fixed size.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
case ${PRECISION:-fp16} in
    fp32) precision=() ;;
    fp16 | bf16) precision=(--"${PRECISION:-fp16}") ;;
    *) echo "train.sh: PRECISION must be fp16, bf16 or fp32" >&2 ; exit 2 ;;
esac

# shellcheck disable=SC2086 - LAUNCH is a command with its arguments
exec ${LAUNCH:-} fairseq-train "$data" --user-dir "$(langsamp user-dir)" \
    --task langsamp_masked_lm --arch langsamp_roberta --criterion langsamp_masked_lm \
    --finetune-from-model "$start" --save-dir "$save" --tensorboard-logdir "$save/tensorboard" \
    --tokens-per-sample 512 --batch-size "$batch" --update-freq $((sequences / (batch * gpus))) \
    --distributed-world-size "$gpus" "${precision[@]}" \
    --multilang-sampling glot500 --multilang-sampling-alpha 0.3 --multilang-sampling-scale 30 --multilang-sampling-counts lines \
    --optimizer fused_adamw --adam-betas '(0.9,0.999)' --adam-eps 1e-8 --weight-decay 0 --clip-norm 1.0 \
    --lr 5e-5 --lr-scheduler polynomial_decay --total-num-update 480000 --max-update 480000 \
    --save-interval-updates 5000 --keep-interval-updates 3 --no-epoch-checkpoints \
    --num-workers 2 --seed 42 --log-format json --log-interval 100 "$@"
