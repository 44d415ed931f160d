#!/usr/bin/env bash
# LangSAMP on Megatron-LM, whose clone must be on PYTHONPATH: bash train.sh base|large|xl DATA-BIN START SAVE [FLAG...]
# START is what `langsamp megatron import` wrote. If started again, it resumes from SAVE.
# TP (tensor-parallel ranks), MICRO (samples per rank), GLOBAL (samples per step) and LAUNCH can be set in the environment.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: bash train.sh base|large|xl DATA-BIN START SAVE [FLAG...]" >&2
    exit 2
fi
size=$1 data=$2 start=$3 save=$4
shift 4
case $size in
    base) shape="--num-layers 12 --hidden-size 768 --ffn-hidden-size 3072 --num-attention-heads 12" ;;
    large) shape="--num-layers 24 --hidden-size 1024 --ffn-hidden-size 4096 --num-attention-heads 16" ;;
    xl) shape="--num-layers 36 --hidden-size 2560 --ffn-hidden-size 10240 --num-attention-heads 32" ;;
    *) echo "train.sh: the size must be base, large or xl, but is $size" >&2 && exit 2 ;;
esac
# The first start loads only the weights; later ones also resume the optimizer and the data.
load=(--load "$save")
[ -f "$save/latest_checkpointed_iteration.txt" ] || load=(--load "$start" --finetune --no-load-optim --no-load-rng)
parallel=(--tensor-model-parallel-size "${TP:-1}")
[ "${TP:-1}" = 1 ] || parallel+=(--sequence-parallel)
export CUDA_DEVICE_MAX_CONNECTIONS=1
# shellcheck disable=SC2086
exec ${LAUNCH:-torchrun --nproc-per-node 8} "$(dirname "$0")/pretrain_langsamp.py" \
    --langsamp-start "$start" --data-path "$data" --save "$save" "${load[@]}" "${parallel[@]}" $shape \
    --seq-length 512 --max-position-embeddings 512 --vocab-size 250001 --tokenizer-type NullTokenizer \
    --micro-batch-size "${MICRO:-32}" --global-batch-size "${GLOBAL:-1024}" --train-iters 100000 \
    --lr 5e-5 --lr-decay-style linear --min-lr 0 --adam-beta2 0.999 --weight-decay 0 --clip-grad 1.0 --bf16 \
    --use-distributed-optimizer --ckpt-format torch_dist --save-interval 5000 --eval-interval 5000 --eval-iters 10 \
    --no-bias-gelu-fusion --no-gradient-accumulation-fusion --calculate-per-token-loss --dataloader-type single \
    --seed 42 --log-interval 50 "$@"
