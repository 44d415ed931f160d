"""Writes the files from which Hugging Face loads a tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from langsamp_plugin.convert.exact_normalizer import exact_normalizer
from langsamp_plugin.vocabulary.extend import read_model_proto
from langsamp_plugin.vocabulary.model_file import RETRAIN
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer

TOKENIZER_OPTIONS = (
    *(f"{name}_token" for name in ("bos", "cls", "eos", "mask", "pad", "sep", "unk")),
    "model_max_length",
)
# XLM-R's own class would replace the normaliser in tokenizer.json with its default.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
INPUTS = ["input_ids", "attention_mask"]


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write the SentencePiece model and Hugging Face's fast tokenizer.

    Args:
        tokenizer: the tokenizer, in the order of its SentencePiece model.
        folder: the folder to write to.
        max_length: maximum number of tokens of a text.

    Raises:
        ModuleNotFoundError: protobuf is missing.
        ValueError: the fast tokenizer numbers the pieces differently, or cannot normalise as the model does.
    """
    from transformers import XLMRobertaTokenizerFast

    # transformers 4 does not load char models; as a unigram model, one-character pieces split text identically.
    model = read_model_proto(tokenizer)
    model.trainer_spec.model_type = model.trainer_spec.UNIGRAM
    (folder / SPM_FILENAME).write_bytes(model.SerializeToString())
    fast = XLMRobertaTokenizerFast.from_pretrained(str(folder), model_max_length=max_length)
    vocabulary = fast.get_vocab()
    wrong = [piece for number, piece in enumerate(tokenizer.pieces, 4) if vocabulary.get(piece) != number]
    if wrong or fast.mask_token_id != tokenizer.vocab_size - 1:
        raise ValueError(f"transformers numbers {len(wrong)} pieces of {tokenizer.path} differently, first {wrong[:1]}")
    backend = fast.backend_tokenizer
    exact = exact_normalizer(tokenizer.charsmap, backend.normalizer)
    if exact is None:
        raise ValueError(
            f"{tokenizer.path} has normalisation rules that Hugging Face's tokenizers cannot follow: {RETRAIN}"
        )
    backend.normalizer = exact
    fast.save_pretrained(str(folder))
    shutil.copyfile(tokenizer.path, folder / SPM_FILENAME)
    # transformers 5 adds fields (a list of extra tokens, how the folder was opened) that transformers 4 cannot read.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: config[name] for name in TOKENIZER_OPTIONS if name in config}
    kept.update(tokenizer_class=TOKENIZER_CLASS, model_input_names=INPUTS)
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
