"""Caches sentence vectors: one entry per layer, and for English one per sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from langsamp_plugin.evaluation.cache import Cache, hash_of, hash_texts, software_key
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.encoding import mean_pooled
from langsamp_plugin.evaluation.provenance import environment

Encode = Callable[[Sequence[str], Sequence[int]], "tuple[np.ndarray, int]"]


class FeatureStore:
    """Vectors of a model in the cache.

    Args:
        cache: where vectors are stored.
        model, tokenizer: from :func:`~langsamp_plugin.evaluation.encoding.load_encoder`.
        model_hash: hash of its files.
        max_length: number of tokens kept per sentence.
        compute: device, precision and batch size.
        on_batch: called with the number of sentences in each finished batch.
    """

    def __init__(
        self, cache: Cache, *, model: Any, tokenizer: Any, model_hash: str, max_length: int, compute: Compute,
        on_batch: Callable[[int], Any],
    ):  # fmt: skip
        self.cache, self.model, self.tokenizer, self.compute = cache, model, tokenizer, compute
        self.max_length, self.on_batch = max_length, on_batch
        self.precision = compute.feature_precision()
        key = [*software_key(), model_hash, max_length, *compute.key(self.precision)]
        self.folder = f"features/{hash_of('mean', *key)}"
        self.made: list[dict[str, Any]] = []

    def vectors(
        self, texts: Sequence[str], layers: Sequence[int], found: Optional[int] = None
    ) -> tuple[np.ndarray, int]:
        """Return float32 ``(len(layers), len(texts), C)``, and the number of truncated sentences.

        Args:
            texts: the sentences.
            layers: numbers of the blocks.
            found: number passed to ``on_batch`` if nothing has to be encoded; by default the number of sentences.
        """
        name = hash_texts(texts)
        missing = [layer for layer in layers if not self.cache.has(self.folder, f"{name}-{layer}", "npy")]
        if missing or not self.cache.has(self.folder, name):
            encoded, cut = self._encode(texts, missing or list(layers)[:1])
            for layer, rows in zip(missing, encoded):
                self.cache.array(self.folder, f"{name}-{layer}", lambda rows=rows: rows)  # type: ignore[misc]
            record = {"cut": cut, "made": environment(self.model.device, self.precision)}
            self.cache.json(self.folder, name, lambda: record)
        else:
            self.on_batch(len(texts) if found is None else found)
        stored = self.cache.json(self.folder, name, dict)
        self.made.append(stored["made"])
        arrays = [self.cache.array(self.folder, f"{name}-{layer}", self._absent) for layer in layers]
        return np.stack(arrays), int(stored["cut"])

    def english(self, texts: Sequence[str], layers: Sequence[int]) -> tuple[dict[str, int], np.ndarray, int]:
        """Return the row of each sentence, vectors as in :meth:`vectors`, and the number of truncated sentences.

        Sentences that an earlier run encoded for other languages are not encoded again.
        """
        parts = self.folder + "/english"
        known: dict[str, tuple[str, int]] = {}
        for path in sorted((self.cache.folder / parts).glob("*.json")):
            stored = self.cache.json(parts, path.stem, dict)
            for row, sentence in enumerate(stored["sentences"]):
                known.setdefault(sentence, (path.stem, row))
        names = {text: hash_of(text) for text in texts}
        new = [text for text in texts if names[text] not in known]
        if new:
            part = hash_texts(new)
            self.vectors(new, layers)  # stored by layer; the next lines read it
            sentences = [names[text] for text in new]
            self.cache.json(parts, part, lambda: {"sentences": sentences, "texts": new})
            known.update({sentence: (part, row) for row, sentence in enumerate(sentences)})
        rows: dict[str, int] = {text: number for number, text in enumerate(texts)}
        vectors = np.empty((len(layers), len(texts), self.model.config.hidden_size), dtype=np.float32)
        cut = 0
        for part in sorted({known[names[text]][0] for text in texts}):
            stored = self.cache.json(parts, part, dict)
            wanted = [text for text in texts if known[names[text]][0] == part]
            fresh = bool(new) and part == hash_texts(new)
            found, part_cut = self.vectors(stored["texts"], layers, 0 if fresh else len(wanted))
            cut += part_cut
            vectors[:, [rows[text] for text in wanted]] = found[:, [known[names[text]][1] for text in wanted]]
        return rows, vectors, cut

    def _encode(self, texts: Sequence[str], layers: Sequence[int]) -> tuple[np.ndarray, int]:
        return mean_pooled(
            texts, self.model, self.tokenizer, layers, self.max_length, self.on_batch,
            batch_tokens=self.compute.batch_tokens, precision=self.precision,
        )  # fmt: skip

    def _absent(self) -> np.ndarray:
        raise FileNotFoundError(f"vectors of {Path(self.cache.folder) / self.folder} vanished: run again")
