"""Masked-LM corruption of a batch: selects the tokens to predict and replaces them.

Devlin et al. 2019, section 3.1: 15 % of the tokens are predicted; of these 80 % become ``<mask>``, 10 % a random
token, 10 % are unchanged. Special tokens are never selected and never drawn. All randomness is a function of a key per
block (seed, epoch, language, block, pass), so a block's masks do not depend on its place in a batch.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.data.hashing import to_unit, uniforms


class Masking(NamedTuple):
    """Parameters of :func:`mask_batch`.

    Args:
        special: bool ``(vocabulary,)``: ids that are never predicted (``<s>``, ``<pad>``, ``</s>``, ``<unk>``,
            ``<mask>``).
        mask_id: id of ``<mask>``.
        pad_id: id of ``<pad>``, which also marks "nothing to predict" in the target.
        replacements: float64 ``(vocabulary,)``: cumulative probability of each id as a random token, ending in 1.
        word_begins: bool ``(vocabulary,)``: whether a piece begins a word, for whole-word masking; ``None`` masks
            pieces.
        mask_prob: share of tokens (or words) that are predicted.
        leave_unmasked_prob: share of those that are unchanged in the input.
        random_token_prob: share of those that are replaced by a random token.
    """

    special: np.ndarray
    mask_id: int
    pad_id: int
    replacements: np.ndarray
    word_begins: Optional[np.ndarray] = None
    mask_prob: float = 0.15
    leave_unmasked_prob: float = 0.1
    random_token_prob: float = 0.1

    def check(self) -> None:
        """Raise ``ValueError`` if a probability is out of range."""
        if not 0.0 < self.mask_prob < 1.0:
            raise ValueError(f"--mask-prob must be between 0 and 1, but is {self.mask_prob}")
        leave, random = self.leave_unmasked_prob, self.random_token_prob
        if leave < 0 or random < 0 or leave + random > 1:
            raise ValueError(
                f"--leave-unmasked-prob and --random-token-prob must be >= 0 and sum to at most 1, but are {leave} "
                f"and {random}"
            )


def mask_batch(tokens: np.ndarray, keys: np.ndarray, masking: Masking) -> tuple[np.ndarray, np.ndarray]:
    """Corrupt a padded batch.

    In each row exactly ``floor(mask_prob * n + u)`` of its n maskable tokens (or words) are chosen, u uniform in [0,
    1). This equals fairseq's number, with unbiased rounding.

    Args:
        tokens: int64 of shape ``(batch, length)``, padded with ``masking.pad_id``.
        keys: uint64 of shape ``(batch,)``, one per row.
        masking: the parameters.

    Returns:
        ``(source, target)``, both int64 ``(batch, length)``: the corrupted tokens, and the original tokens at positions
        to predict, ``pad_id`` elsewhere.
    """
    length = tokens.shape[1]
    maskable = ~masking.special[tokens]
    draws = uniforms(keys, 2 * length + 1)  # two numbers per position (selection, replacement), one per row
    # Column by column, so that a row's draws do not depend on the padded length of the batch.
    choice, fate = draws[:, 1::2], draws[:, 2::2]
    rounding = to_unit(draws[:, 0])
    if masking.word_begins is None:
        chosen = _choose(np.where(maskable, choice, np.uint64(2**64 - 1)), maskable.sum(1), rounding, masking.mask_prob)
        chosen &= maskable
    else:
        chosen = _choose_words(tokens, maskable, choice, rounding, masking)
    target = np.where(chosen, tokens, masking.pad_id)
    unit = to_unit(fate)
    source = tokens.copy()
    keep, random = masking.leave_unmasked_prob, masking.random_token_prob
    source[chosen & (unit >= keep + random)] = masking.mask_id
    swapped = chosen & (unit >= keep) & (unit < keep + random)
    if swapped.any():
        # The remainder of the same draw is uniform in [0, 1) again and selects the token.
        rest = (unit[swapped] - keep) / random
        picked = np.searchsorted(masking.replacements, rest, side="right")
        source[swapped] = np.minimum(picked, len(masking.replacements) - 1)
    return source, target


def _choose(scores: np.ndarray, available: np.ndarray, rounding: np.ndarray, prob: float) -> np.ndarray:
    """Mark the k lowest scores of each row, k = floor(prob * available + rounding)."""
    wanted = np.floor(prob * available + rounding).astype(np.int64)
    if scores.shape[1] == 0:
        return np.zeros(scores.shape, dtype=bool)
    most = int(wanted.max(initial=0))
    if most == 0:
        return np.zeros(scores.shape, dtype=bool)
    lowest = np.sort(np.partition(scores, most - 1, axis=1)[:, :most], axis=1)
    limit = lowest[np.arange(len(scores)), np.maximum(wanted - 1, 0)]
    return (scores <= limit[:, None]) & (wanted > 0)[:, None]


def _choose_words(
    tokens: np.ndarray, maskable: np.ndarray, choice: np.ndarray, rounding: np.ndarray, masking: Masking
) -> np.ndarray:
    """Like :func:`_choose`, with words as units: a maskable token that begins a word, and its continuation."""
    assert masking.word_begins is not None
    # A special token ends a word, so the next piece begins one even without the marker.
    after_special = np.ones_like(maskable)
    after_special[:, 1:] = ~maskable[:, :-1]
    begins = maskable & (masking.word_begins[tokens] | after_special)
    first = _choose(np.where(begins, choice, np.uint64(2**64 - 1)), begins.sum(1), rounding, masking.mask_prob) & begins
    # Column at which each token's word begins; 0 before the first word, where nothing is maskable.
    column = np.maximum.accumulate(np.where(begins, np.arange(tokens.shape[1]), 0), axis=1)
    return maskable & np.take_along_axis(first, column, axis=1)
