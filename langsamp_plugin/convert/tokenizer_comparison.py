"""Compares how a checkpoint and a Hugging Face folder map the same text to rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.convert.sentences import ODD_LINES, SENTENCES
from langsamp_plugin.convert.verification_table import LINE_SHARE, Comparison
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.tokenizer import BOS, EOS, PAD, UNK, Tokenizer


def check_text(text: Optional[PathLike], verify: bool) -> None:
    """Raise ``ValueError`` if ``--text`` is not a corpus or would not be compared, before work that takes minutes."""
    if text is None:
        return
    if not verify:
        raise ValueError("--text is compared by --verify: add it, or leave --text out")
    corpus_files(text)


def token_rows(tokenizer: Tokenizer, fast: Any) -> Tensor:
    """Return the checkpoint's row for each id of a Hugging Face tokenizer, matched by piece, int64.

    A piece that the checkpoint lacks maps to its ``<unk>``.
    """
    row = {piece: number for number, piece in enumerate(tokenizer.pieces, 4)}
    row.update({"<s>": BOS, "<pad>": PAD, "</s>": EOS, "<unk>": UNK, "<mask>": tokenizer.vocab_size - 1})
    vocabulary = fast.get_vocab()
    rows = torch.full((max(vocabulary.values()) + 1,), UNK)
    for piece, number in vocabulary.items():
        rows[number] = row.get(piece, UNK)
    return rows


def compare_tokenizers(tokenizer: Tokenizer, fast: Any, text: Optional[PathLike]) -> list[Comparison]:
    """Compare ids line by line, for fixed sentences or a folder of ``<tag>.txt`` (one row per tag and one for all)."""
    numbers = token_rows(tokenizer, fast)
    rows = [Comparison("row of <mask>", abs(int(numbers[fast.mask_token_id]) - (tokenizer.vocab_size - 1)), 0)]
    if text is None:
        lines = [*SENTENCES.values(), *ODD_LINES]
        different = _different_lines(tokenizer, fast, numbers, lines)
        detail = f"{len(lines)} sentences, {different} differ"
        return [*rows, Comparison("token ids", different / len(lines), LINE_SHARE, detail)]
    total = total_different = 0
    for tag, path in progress(corpus_files(text).items(), desc="tokenizing", unit="language"):
        lines = list(read_lines(Path(path)))
        different = _different_lines(tokenizer, fast, numbers, lines)
        total, total_different = total + len(lines), total_different + different
        if different:
            rows.append(
                Comparison(f"token ids, {tag}", different / len(lines), 1.0, f"{different} of {len(lines)} lines")
            )
    share = total_different / max(total, 1)
    return [*rows, Comparison("token ids, all tags", share, LINE_SHARE, f"{total_different} of {total:,} lines")]


def _different_lines(tokenizer: Tokenizer, fast: Any, numbers: Tensor, lines: list[str]) -> int:
    if not lines:
        return 0
    tokens, sizes = tokenizer.encode(lines)
    ends = sizes.cumsum()
    found = fast(lines)["input_ids"]
    return sum(
        [BOS, *tokens[end - size : end].tolist()] != numbers[torch.tensor(ids, dtype=torch.long)].tolist()
        for end, size, ids in zip(ends.tolist(), sizes.tolist(), found)
    )
