"""The files from which Hugging Face makes a tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer

TOKENIZER_OPTIONS = (
    *(f"{name}_token" for name in ("bos", "cls", "eos", "mask", "pad", "sep", "unk")),
    "model_max_length",
    "tokenizer_class",
)


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write the SentencePiece model and Hugging Face's fast tokenizer.

    Args:
        tokenizer: in the order of its SentencePiece model.
        folder: where to.
        max_length: most tokens of a text.

    Raises:
        ValueError: the fast tokenizer numbers the pieces in another way.
    """
    from transformers import XLMRobertaTokenizerFast

    shutil.copyfile(tokenizer.path, folder / SPM_FILENAME)
    fast = XLMRobertaTokenizerFast.from_pretrained(str(folder), model_max_length=max_length)
    vocabulary = fast.get_vocab()
    wrong = [piece for number, piece in enumerate(tokenizer.pieces, 4) if vocabulary.get(piece) != number]
    if wrong or fast.mask_token_id != tokenizer.vocab_size - 1:
        raise ValueError(f"transformers numbers {len(wrong)} pieces of {tokenizer.path} differently, first {wrong[:1]}")
    fast.save_pretrained(str(folder))
    # What transformers 5 also writes here (a list of extra tokens, how the folder was opened) stops transformers 4.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {name: config[name] for name in TOKENIZER_OPTIONS if name in config}
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")
