"""SentencePiece models in XLM-R's numbering.

XLM-R puts four special tokens first and the mask last: ``<s>`` 0, ``<pad>`` 1, ``</s>`` 2, ``<unk>`` 3, then the
pieces in the model's order, then ``<mask>``. A model's own first three pieces are ``<unk>``, ``<s>``, ``</s>``, so
piece p is token p + 1.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.model_file import RETRAIN, check_kind, read_model_file

BOS, PAD, EOS, UNK = 0, 1, 2, 3
SPECIAL_PIECES = ("<unk>", "<s>", "</s>")
XLMR_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
SPACES = "\t\u00a0\u2003\u3000"
"""White space at which Hugging Face's tokenizer splits; a model must treat each of these as a space."""
SPM_FILENAME = "sentencepiece.bpe.model"
"""The name under which Hugging Face looks for the model, also used in data folders."""


class Tokenizer:
    """A SentencePiece model and its token ids.

    Args:
        path: the ``.model`` file.

    Attributes:
        pieces: the pieces that have a line in ``dict.txt``, in id order from 4.
        vocab_size: number of token ids, ``<mask>`` included.
        charsmap: the rules of the model's normaliser.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not a SentencePiece model, or Hugging Face's XLM-R tokenizer cannot reproduce it.
    """

    unk_id = UNK

    def __init__(self, path: PathLike):
        import sentencepiece

        self.path = Path(path)
        if self.path.is_dir():
            raise ValueError(
                f"SentencePiece model {path} must be a file, but is a folder: name the file in it, such as "
                f"{self.path / SPM_FILENAME}"
            )
        if not self.path.is_file():
            raise FileNotFoundError(f"SentencePiece model {path} is missing; train one with `langsamp tokenizer train`")
        self.processor = sentencepiece.SentencePieceProcessor()
        content = self.path.read_bytes()
        try:
            self.processor.LoadFromSerializedProto(content)
            model = read_model_file(content)
        except (RuntimeError, OSError, ValueError) as error:  # ValueError: a piece is not UTF-8
            raise ValueError(f"{path} is not a SentencePiece model, or cut off") from error
        pieces = [text for text, _ in model.pieces]
        size = len(pieces)
        # A file that was cut between two pieces reads like a smaller model, but lacks the normaliser, which follows all
        # pieces.
        if size and not model.complete:
            raise ValueError(f"{path} is cut off: it has pieces, but no normaliser after them; download it again")
        self._check_pieces(pieces)
        check_kind(model, path)
        self._check_spaces()
        self.pieces = pieces[3:]
        self.charsmap = model.charsmap
        self._token_ids = np.arange(1, size + 1, dtype=np.int64)
        self._token_ids[:3] = (UNK, BOS, EOS)

    def _check_pieces(self, pieces: list[str]) -> None:
        first = tuple(pieces[:3])
        own = [piece for piece in XLMR_TOKENS if piece in pieces[3:]]
        if own and first[:1] == SPECIAL_PIECES[:1]:
            raise ValueError(
                f"{self.path} has {' '.join(own)} among its pieces, but fairseq adds these itself: train it without "
                "--pad_id and --user_defined_symbols"
            )
        if first != SPECIAL_PIECES:
            raise ValueError(
                f"{self.path} must begin with the pieces {' '.join(SPECIAL_PIECES)} like XLM-R's, but begins with "
                f"{' '.join(first)}"
            )

    def _check_spaces(self) -> None:
        """Refuse a normaliser that keeps white space other than U+0020."""
        plain = self.processor.encode("a a")
        kept = [space for space in SPACES if self.processor.encode(f"a{space}a") != plain]
        if kept:
            raise ValueError(
                f"{self.path} must treat U+{ord(kept[0]):04X} as a space, like Hugging Face's XLM-R tokenizer, but "
                f"does not (its normalizer must be nmt_nfkc): {RETRAIN}"
            )

    @property
    def vocab_size(self) -> int:
        """Number of token ids: four special tokens, the pieces, ``<mask>``."""
        return 4 + len(self.pieces) + 1

    @cached_property
    def digest(self) -> str:
        """A hash of the model file."""
        return blake2b(self.path.read_bytes(), digest_size=8).hexdigest()

    def encode(self, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode lines, each followed by ``</s>``, as fairseq stores them.

        Returns:
            ``(tokens, sizes)``: the concatenated tokens, and the number of tokens of each line, both int64.
        """
        encoded: list[list[int]] = self.processor.encode(list(lines), out_type=int, num_threads=1)
        sizes = np.fromiter((len(ids) + 1 for ids in encoded), dtype=np.int64, count=len(encoded))
        tokens = np.full(int(sizes.sum()), EOS, dtype=np.int64)
        inside = np.ones(len(tokens), dtype=bool)
        inside[np.cumsum(sizes) - 1] = False
        flat = np.fromiter(chain.from_iterable(encoded), dtype=np.int64, count=len(tokens) - len(sizes))
        tokens[inside] = self._token_ids[flat]
        return tokens, sizes

    def save_beside(self, out: PathLike) -> None:
        """Write the model, then its ``dict.txt``, into a data folder; the presence of ``dict.txt`` marks a complete
        folder."""
        with atomic_write(Path(out) / SPM_FILENAME, "wb") as stream:
            stream.write(self.path.read_bytes())
        self.save_dictionary(Path(out) / "dict.txt")

    def save_dictionary(self, path: PathLike) -> None:
        """Write fairseq's ``dict.txt``: one ``piece count`` per line, without the special tokens, which fairseq adds
        itself."""
        with atomic_write(path) as stream:
            stream.writelines(f"{piece} 1\n" for piece in self.pieces)


def train_tokenizer(
    corpus: PathLike,
    out: PathLike,
    vocab_size: int,
    *,
    alpha: float = 0.3,
    coverage: float = 0.9995,
    max_lines: int = 5_000_000,
    langs: Iterable[str] = (),
    strict: bool = False,
) -> Tokenizer:
    """Train a unigram model on a corpus and upsample small languages.

    Args:
        corpus: folder of ``<tag>.txt``.
        out: the ``.model`` file to write.
        vocab_size: number of pieces; the result has fewer if the text is too small.
        alpha: languages are sampled by ``p ~ lines ** alpha`` (0.3 in XLM-R).
        coverage: share of characters that get their own piece.
        max_lines: lines to train on, over all languages.
        langs: the tags to use; empty means all.
        strict: raise for a corpus file that would otherwise be skipped.

    Returns:
        The trained tokenizer.

    Raises:
        ValueError: there is too little text to train a model.
    """
    import sentencepiece

    files = corpus_files(corpus, langs, strict=strict)
    counts = np.array(
        [sum(1 for _ in read_lines(path)) for path in progress(files.values(), desc="counting", unit="language")]
    )
    for path, count in zip(files.values(), counts.tolist()):
        if not count:
            raise ValueError(f"{path} has no line of text: add text or remove it")
    shares = counts.astype(np.float64) ** alpha
    draws = np.maximum(1, np.rint(shares / shares.sum() * counts.sum()))
    rates = draws / counts * min(1.0, max_lines / draws.sum())

    def sample() -> Iterator[str]:
        for path, rate in zip(progress(files.values(), desc="sampling", unit="language"), rates.tolist()):
            for number, line in enumerate(read_lines(path)):
                # Systematic sampling: line i comes floor((i + 1) * rate) - floor(i * rate) times, so repeats are spread
                # evenly.
                yield from [line] * (int((number + 1) * rate) - int(number * rate))

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        options: dict[str, Any] = {
            "model_type": "unigram", "vocab_size": vocab_size, "character_coverage": coverage,
            "hard_vocab_limit": False, "max_sentence_length": 16384, "minloglevel": 2,
        }  # fmt: skip
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=sample(), model_prefix=os.path.join(folder, "spm"), **options
            )
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rpartition("] ")[2]  # without the C++ source line and condition
            raise ValueError(f"cannot train {vocab_size} pieces on {corpus}: {reason}") from error
        with atomic_write(out, "wb") as stream:
            stream.write(Path(folder, "spm.model").read_bytes())
    return Tokenizer(out)
