"""Verifies a conversion: both models encode the same sentences, and every layer is compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.convert.sentences import SENTENCES
from langsamp_plugin.convert.tokenizer_comparison import compare_tokenizers, token_rows
from langsamp_plugin.convert.verification_table import LIMIT, Comparison, Verification
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript
from langsamp_plugin.vocabulary.tokenizer import BOS, PAD, Tokenizer

LENGTH = 64
"""Maximum number of tokens compared per sentence."""


def verify_folder(
    state: dict[str, Any],
    tokenizer: Tokenizer,
    folder: PathLike,
    *,
    fold: Optional[str] = None,
    text: Optional[PathLike] = None,
    compare_logits: bool = True,
    with_pickle: bool = False,
    logits_limit: float = LIMIT,
) -> Verification:
    """Compare a fairseq checkpoint with a Hugging Face folder, in float32.

    Each side maps the same strings to features with its own files: the checkpoint with its dictionary, the folder with
    its tokenizer. The comparison does not assume that both number pieces in the same way.

    Args:
        state: the checkpoint.
        tokenizer: maps text to its rows.
        folder: the Hugging Face folder.
        fold: the tag that was folded into the folder's head; without it, the logits for unknown tags are compared.
        text: a folder of ``<tag>.txt`` whose lines both sides tokenize; by default, the fixed sentences are tokenized.
        compare_logits: also compare the masked-LM head.
        with_pickle: allow a folder that has its weights only as a pickle.
        logits_limit: maximum allowed difference of the logits.

    Returns:
        A row for the embedding, each layer, the logits and the tokenizers.
    """
    from transformers import AutoTokenizer

    fast = AutoTokenizer.from_pretrained(str(folder))
    numbers = token_rows(tokenizer, fast)
    ours, theirs = _same_length(_sentence_ids(tokenizer), _folder_ids(fast))
    tokens, real, masked = _padded(ours), _padded(ours).ne(PAD), _padded(ours).eq(tokenizer.vocab_size - 1)
    notes = []
    with torch.no_grad():
        # One model at a time, so that only one of them is in memory.
        model = build_model(state, tokenizer)
        hidden_ours = layers(model, tokens)
        # Only at the masked positions: a row of logits is as long as the vocabulary.
        logits_ours = logits(model, tokens, masked, fold)
        del model
        model = _load_folder(folder, with_pickle)
        found = model.roberta(_padded(theirs), attention_mask=real.long(), output_hidden_states=True)
        hidden_theirs = found.hidden_states
        rows = _layer_rows(hidden_ours, hidden_theirs, real)
        if len(hidden_ours) != len(hidden_theirs):
            rows.append(Comparison("number of blocks", abs(len(hidden_ours) - len(hidden_theirs)), 0))
        if compare_logits:
            what = f"logits for {fold}" if fold else "logits"
            logits_theirs = model.lm_head(hidden_theirs[-1][masked])[:, : len(numbers)]
            rows.append(Comparison(what, _difference(logits_ours[:, numbers], logits_theirs), logits_limit))
        else:
            notes.append("logits not compared: the folder has no masked-LM head")
        del model
    return Verification([*rows, *compare_tokenizers(tokenizer, fast, text)], notes)


def _folder_ids(fast: Any) -> list[list[int]]:
    rows = []
    for ids in fast(list(SENTENCES.values()))["input_ids"]:
        ids = ids[:LENGTH]
        ids[len(ids) // 2] = fast.mask_token_id
        rows.append(ids)
    return rows


def _same_length(ours: list[list[int]], theirs: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Leave out sentences that the two sides split differently; the comparison of tokenizers reports them."""
    pairs = [(left, right) for left, right in zip(ours, theirs) if len(left) == len(right)]
    if not pairs:
        raise VerificationError("the two tokenizers split every sentence differently, nothing was written")
    return [left for left, _ in pairs], [right for _, right in pairs]


def _load_folder(folder: PathLike, with_pickle: bool) -> Any:
    from transformers import AutoModelForMaskedLM

    options = {"use_safetensors": False} if with_pickle else {}
    with _quiet():  # the import itself reports what the folder lacks
        model, info = AutoModelForMaskedLM.from_pretrained(str(folder), output_loading_info=True, **options)
    if any(name.endswith("token_type_embeddings.weight") for name in info["missing_keys"]):
        model.roberta.embeddings.token_type_embeddings.weight.zero_()  # the authors' layout has none
    return model.float().eval()


def verify_extension(before: dict[str, Any], old: Tokenizer, after: dict[str, Any], new: Tokenizer) -> Verification:
    """Compare a checkpoint with one of another vocabulary, on the fixed sentences, using only pieces that both have.

    Args:
        before, after: the checkpoints.
        old, new: the tokenizers that map text to their rows.
    """
    number = {piece: place for place, piece in enumerate(new.pieces, 4)}
    moved = torch.tensor([0, 1, 2, 3, *(number.get(piece, -1) for piece in old.pieces), new.vocab_size - 1])
    rows_of_ids = [[number for number in row if moved[number] >= 0] for row in _sentence_ids(old)]
    tokens = _padded(rows_of_ids)
    left_out = sum(map(len, _sentence_ids(old))) - sum(map(len, rows_of_ids))
    notes = [f"{left_out} tokens left out: the new model lacks their pieces"] if left_out else []
    real = tokens.ne(PAD)
    both = (moved >= 0).nonzero().squeeze(1)
    with torch.no_grad():
        one, other = build_model(before, old), build_model(after, new)
        rows = _layer_rows(layers(one, tokens), layers(other, moved[tokens]), real)
        masked = tokens.eq(old.vocab_size - 1)
        difference = _difference(
            logits(one, tokens, masked)[:, both], logits(other, moved[tokens], masked)[:, moved[both]]
        )
    return Verification([*rows, Comparison("logits of old pieces", difference, LIMIT)], notes)


def encode_sentences(tokenizer: Tokenizer) -> Tensor:
    """Return the fixed sentences, padded, with one ``<mask>`` in each: int64 (B, T)."""
    return _padded(_sentence_ids(tokenizer))


def _sentence_ids(tokenizer: Tokenizer) -> list[list[int]]:
    rows = []
    for sentence in SENTENCES.values():
        ids = [BOS, *tokenizer.encode([sentence])[0].tolist()][:LENGTH]
        ids[len(ids) // 2] = tokenizer.vocab_size - 1
        rows.append(ids)
    return rows


def _padded(rows: list[list[int]]) -> Tensor:
    out = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, ids in zip(out, rows):
        row[: len(ids)] = torch.tensor(ids)
    return out


def layers(model: Any, tokens: Tensor) -> list[Tensor]:
    """Return a fairseq model's embedding output and the output of every block, float32 (B, T, C) each."""
    features, extra = model(tokens, features_only=True, return_all_hiddens=True)
    # Hugging Face takes the last one after the final LayerNorm, which XLM-R XL has.
    return [*(state.transpose(0, 1) for state in extra["inner_states"][:-1]), features]


def logits(model: Any, tokens: Tensor, masked: Tensor, tag: Optional[str] = None) -> Tensor:
    """Return a fairseq model's logits (N, vocabulary) at masked positions, with a tag or the unknown one."""
    ids = [UNKNOWN_ID, UNKNOWN_ID]
    if tag is not None:
        from langsamp_plugin.modules.tag_embedding import decode_codes

        parsed = LangScript.parse(tag)
        for place, (table, code) in enumerate(
            ((model.encoder.lang_embedding, parsed.language), (model.encoder.script_embedding, parsed.script))
        ):
            codes = decode_codes(table.codes) if table is not None else []
            ids[place] = codes.index(code) if code in codes else UNKNOWN_ID
    lang_ids, script_ids = (torch.full((len(tokens),), number) for number in ids)
    return model(tokens, masked_tokens=masked, lang_ids=lang_ids, script_ids=script_ids)[0]


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def _layer_rows(one: Sequence[Tensor], other: Sequence[Tensor], real: Tensor) -> list[Comparison]:
    return [
        Comparison("embedding" if number == 0 else f"block {number}", _difference(left[real], right[real]), LIMIT)
        for number, (left, right) in enumerate(zip(one, other))
    ]


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value if that is above 1, because rounding grows with
    it."""
    return (one - other).abs().max().item() / max(1.0, other.abs().max().item())
