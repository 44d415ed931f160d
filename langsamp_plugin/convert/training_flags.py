"""The flags that fairseq-train needs for a model whose sizes differ from XLM-R base."""

from __future__ import annotations

from argparse import Namespace

# Layers, width, inner width and heads (Conneau et al. 2020; Goyal et al. 2021, table 1).
XLMR_BASE = (12, 768, 3072, 12)
ARCHITECTURES = {(24, 1024, 4096, 16): "langsamp_roberta_large", (36, 2560, 10240, 32): "langsamp_roberta_xl"}


def training_flags(args: Namespace) -> str:
    """Return the flags that fairseq-train needs in addition to ``--arch langsamp_roberta``.

    Args:
        args: the options of a checkpoint.
    """
    sizes = {
        "--encoder-layers": args.encoder_layers,
        "--encoder-embed-dim": args.encoder_embed_dim,
        "--encoder-ffn-embed-dim": args.encoder_ffn_embed_dim,
        "--encoder-attention-heads": args.encoder_attention_heads,
    }
    shape = tuple(sizes.values())
    if shape in ARCHITECTURES:
        flags = [f"--arch {ARCHITECTURES[shape]}"]
    elif shape == XLMR_BASE and not args.encoder_normalize_before:
        flags = []
    else:
        flags = ["--arch langsamp_roberta_xl"] if args.encoder_normalize_before else []
        flags += [f"{flag} {size}" for flag, size in sizes.items()]
    if args.max_positions != 512:
        flags.append(f"--max-positions {args.max_positions}")
    if args.layer_norm_eps != 1e-5:
        flags.append(f"--layer-norm-eps {args.layer_norm_eps:g}")
    return " ".join(flags)
