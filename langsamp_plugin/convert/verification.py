"""Proof of a conversion: the same sentences through both sides, every layer compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.tokenizer import BOS, PAD, Tokenizer

LIMIT = 1e-5
"""Largest difference between two float32 computations of the same thing, in another order of summation; relative to the
largest value where that is above 1."""

LINE_SHARE = 1e-3
"""Share of lines that the two tokenizers may split differently: the ``tokenizers`` library breaks ties between equally
good splits otherwise, and normalises grapheme by grapheme. On XLM-R and the 47,543 lines of UDHR these are 6."""

LENGTH = 64

SENTENCES = {
    "eng_Latn": "The water in the lake was cold this morning, and nobody went in.",
    "deu_Latn": "Das Wasser im See war heute Morgen kalt, und niemand ging hinein.",
    "spa_Latn": "El agua del lago estaba fría esta mañana.",
    "tur_Latn": "Bu sabah gölün suyu soğuktu.",
    "swh_Latn": "Maji ya ziwa yalikuwa baridi asubuhi ya leo.",
    "vie_Latn": "Sáng nay nước hồ rất lạnh.",
    "rus_Cyrl": "Вода в озере сегодня утром была холодной.",
    "ell_Grek": "Το νερό της λίμνης ήταν κρύο σήμερα το πρωί.",
    "kat_Geor": "დღეს დილით ტბის წყალი ცივი იყო.",
    "arb_Arab": "كان ماء البحيرة باردا هذا الصباح.",
    "heb_Hebr": "המים באגם היו קרים הבוקר.",
    "hin_Deva": "आज सुबह झील का पानी ठंडा था।",
    "tam_Taml": "இன்று காலை ஏரியின் நீர் குளிராக இருந்தது.",
    "tha_Thai": "เช้านี้น้ำในทะเลสาบเย็นมาก",
    "zho_Hani": "今天早上湖里的水很冷。",
    "jpn_Jpan": "今朝、湖の水は冷たかった。",
    "kor_Hang": "오늘 아침 호수의 물은 차가웠다.",
}


class Comparison(NamedTuple):
    """One comparison.

    Args:
        what: what was compared.
        difference: the largest absolute difference; for tokenizers the share of lines that differ.
        limit: the largest that passes.
        detail: in words, for tokenizers.
    """

    what: str
    difference: float
    limit: float
    detail: str = ""


class Verification(NamedTuple):
    """What a comparison found."""

    rows: list[Comparison]
    notes: list[str]

    def format(self) -> str:
        """Return a table."""
        width = max((len(row.what) for row in self.rows), default=8)
        lines = [f"{'compared':<{width}}  {'difference':>10}  {'limit':>7}"]
        for row in self.rows:
            mark = "" if row.difference <= row.limit else "  DIFFERENT"
            lines.append(
                f"{row.what:<{width}}  {row.difference:>10.1e}  {row.limit:>7.0e}  {row.detail}{mark}".rstrip()
            )
        return "\n".join([*lines, *self.notes])

    def check(self) -> None:
        """Raise ``VerificationError`` if anything differs by more than its limit."""
        # Not "greater": a difference that is not a number has passed nothing.
        wrong = [row for row in self.rows if not row.difference <= row.limit]
        if wrong:
            raise VerificationError(
                f"the conversion does not compute what it was made from, nothing was written: {len(wrong)} of "
                f"{len(self.rows)} comparisons differ, first {wrong[0].what} by {wrong[0].difference:.1e} (limit "
                f"{wrong[0].limit:.0e})"
            )


def verify_folder(
    state: dict[str, Any],
    tokenizer: Tokenizer,
    folder: PathLike,
    fold: Optional[str] = None,
    text: Optional[PathLike] = None,
    compare_logits: bool = True,
    with_pickle: bool = False,
    logits_limit: float = LIMIT,
) -> Verification:
    """Compare a fairseq checkpoint with a Hugging Face folder, in float32.

    Args:
        state: the checkpoint.
        tokenizer: its SentencePiece model.
        folder: the Hugging Face folder.
        fold: the tag that is folded into the folder's head; without it unknown tags are compared.
        text: a folder of ``<tag>.txt`` whose lines are tokenized on both sides; without it the fixed sentences.
        compare_logits: compare the masked-LM head, too.
        with_pickle: the folder may have its weights as a pickle only.
        logits_limit: largest difference of logits.

    Returns:
        A row for the embedding, each layer, the logits and the tokenizers.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokens = encode_sentences(tokenizer)
    real, masked = tokens.ne(PAD), tokens.eq(tokenizer.vocab_size - 1)
    notes = []
    with torch.no_grad():
        # One model after the other, so that only one of them is in memory.
        model = build_model(state, tokenizer)
        hidden_ours = layers(model, tokens)
        # At the masked positions alone: a row of logits is as long as the vocabulary.
        logits_ours = logits(model, tokens, masked, fold)
        del model
        options = {"use_safetensors": False} if with_pickle else {}
        with _quiet():  # what is missing in the folder, the import says itself
            model = AutoModelForMaskedLM.from_pretrained(str(folder), **options).float().eval()
        hidden_theirs = model.roberta(tokens, attention_mask=real.long(), output_hidden_states=True).hidden_states
        rows = _layer_rows(hidden_ours, hidden_theirs, real)
        if len(hidden_ours) != len(hidden_theirs):
            rows.append(Comparison("number of blocks", abs(len(hidden_ours) - len(hidden_theirs)), 0))
        if compare_logits:
            what = f"logits for {fold}" if fold else "logits"
            rows.append(
                Comparison(what, _difference(logits_ours, model.lm_head(hidden_theirs[-1][masked])), logits_limit)
            )
        else:
            notes.append("logits not compared: the folder has no masked-LM head")
        del model
    rows += compare_tokenizers(tokenizer, AutoTokenizer.from_pretrained(str(folder)), text)
    return Verification(rows, notes)


def verify_extension(before: dict[str, Any], old: Tokenizer, after: dict[str, Any], new: Tokenizer) -> Verification:
    """Compare a checkpoint with one of another vocabulary, on the fixed sentences in pieces that both have.

    Args:
        before, after: the checkpoints.
        old, new: their SentencePiece models.
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
    """Return the fixed sentences, a ``<mask>`` in each, padded: int64 (B, T)."""
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
    # The last one as Hugging Face counts it, after the LayerNorm that XLM-R XL has there.
    return [*(state.transpose(0, 1) for state in extra["inner_states"][:-1]), features]


def logits(model: Any, tokens: Tensor, masked: Tensor, tag: Optional[str] = None) -> Tensor:
    """Return a fairseq model's logits (N, vocabulary) at masked positions, for a tag or for unknown ones."""
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


def compare_tokenizers(tokenizer: Tokenizer, fast: Any, text: Optional[PathLike]) -> list[Comparison]:
    """Compare ids line by line: those of a folder of ``<tag>.txt``, a row per tag and one for all, or the fixed ones."""
    rows = [Comparison("id of <mask>", abs(fast.mask_token_id - (tokenizer.vocab_size - 1)), 0)]
    if text is None:
        lines = list(SENTENCES.values())
        different = _different_lines(tokenizer, fast, lines)
        detail = f"{len(lines)} sentences, {different} differ"
        return [*rows, Comparison("token ids", different / len(lines), LINE_SHARE, detail)]
    total = total_different = 0
    for tag, path in progress(corpus_files(text).items(), desc="tokenizing", unit="language"):
        lines = list(read_lines(Path(path)))
        different = _different_lines(tokenizer, fast, lines)
        total, total_different = total + len(lines), total_different + different
        if different:
            rows.append(
                Comparison(f"token ids, {tag}", different / len(lines), 1.0, f"{different} of {len(lines)} lines")
            )
    share = total_different / max(total, 1)
    return [*rows, Comparison("token ids, all tags", share, LINE_SHARE, f"{total_different} of {total:,} lines")]


def _different_lines(tokenizer: Tokenizer, fast: Any, lines: list[str]) -> int:
    if not lines:
        return 0
    tokens, sizes = tokenizer.encode(lines)
    ends = sizes.cumsum()
    found = fast(lines)["input_ids"]
    return sum(
        [BOS, *tokens[end - size : end].tolist()] != ids for end, size, ids in zip(ends.tolist(), sizes.tolist(), found)
    )


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
    """Return the largest difference, in units of the largest value where that is above 1: rounding grows with it."""
    return (one - other).abs().max().item() / max(1.0, other.abs().max().item())
