"""A tiny masked LM of transformers with tables."""

import torch

from langsamp_plugin.hf import LangSampConfig, LangSampForMaskedLM

SIZES = dict(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=40, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
)  # fmt: skip
CODES = dict(languages=["deu", "hin", "eng"], scripts=["Latn", "Deva"])


def make_model(**changes):
    torch.manual_seed(0)
    return LangSampForMaskedLM(LangSampConfig(**{**CODES, **SIZES, **changes})).eval()
