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

BOS, PAD, EOS, UNK = 0, 1, 2, 3
NORMALIZER = 3  # field of SentencePiece's ModelProto: normalizer_spec
SPECIAL_PIECES = ("<unk>", "<s>", "</s>")
SPM_FILENAME = "sentencepiece.bpe.model"
"""The name under which Hugging Face looks for the model, and under which it lies in a data folder."""


class Tokenizer:
    """A SentencePiece model and its token ids.

    Args:
        path: the ``.model`` file.

    Attributes:
        pieces: the pieces that have a line in ``dict.txt``, in id order from 4.
        vocab_size: number of token ids, ``<mask>`` included.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no SentencePiece model, or its first pieces are not XLM-R's.
    """

    def __init__(self, path: PathLike):
        import sentencepiece

        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"SentencePiece model {path} is missing; train one with `langsamp tokenizer train`")
        self.processor = sentencepiece.SentencePieceProcessor()
        content = self.path.read_bytes()
        try:
            self.processor.LoadFromSerializedProto(content)
            size = self.processor.get_piece_size()
            pieces = [self.processor.id_to_piece(number) for number in range(size)]
        except (RuntimeError, OSError, ValueError) as error:  # ValueError: a piece is not UTF-8
            raise ValueError(f"{path} is no SentencePiece model, or cut off") from error
        # A file that was cut between two pieces reads like a smaller model; the normaliser comes behind all pieces.
        if size and NORMALIZER not in _fields(content):
            raise ValueError(f"{path} is cut off: it has pieces, but no normaliser behind them; get it again")
        first = tuple(pieces[:3])
        if first != SPECIAL_PIECES:
            raise ValueError(
                f"{path} must begin with the pieces {' '.join(SPECIAL_PIECES)} like XLM-R's, but begins with {' '.join(first)}"
            )
        self.pieces = pieces[3:]
        self._token_ids = np.arange(1, size + 1, dtype=np.int64)
        self._token_ids[:3] = (UNK, BOS, EOS)

    @property
    def vocab_size(self) -> int:
        """Number of token ids: four special tokens, the pieces, ``<mask>``."""
        return 4 + len(self.pieces) + 1

    @cached_property
    def digest(self) -> str:
        """A hash of the model file."""
        return blake2b(self.path.read_bytes(), digest_size=8).hexdigest()

    def encode(self, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode lines, ``</s>`` after each, as fairseq stores them.

        Returns:
            ``(tokens, sizes)``: all tokens in a row, and how many each line has, both int64.
        """
        encoded: list[list[int]] = self.processor.encode(list(lines), out_type=int, num_threads=1)
        sizes = np.fromiter((len(ids) + 1 for ids in encoded), dtype=np.int64, count=len(encoded))
        tokens = np.full(int(sizes.sum()), EOS, dtype=np.int64)
        inside = np.ones(len(tokens), dtype=bool)
        inside[np.cumsum(sizes) - 1] = False
        flat = np.fromiter(chain.from_iterable(encoded), dtype=np.int64, count=len(tokens) - len(sizes))
        tokens[inside] = self._token_ids[flat]
        return tokens, sizes

    def save_dictionary(self, path: PathLike) -> None:
        """Write fairseq's ``dict.txt``: ``piece count`` a line, without special tokens, which fairseq adds itself."""
        with atomic_write(path) as stream:
            stream.writelines(f"{piece} 1\n" for piece in self.pieces)


def _fields(content: bytes) -> set[int]:
    """Return the numbers of the fields of a protobuf message, as far as each has a length, which all of a model's have."""
    found: set[int] = set()
    place = 0
    while place < len(content) and content[place] & 0b10000111 == 2:  # a number below 16, and a length behind it
        found.add(content[place] >> 3)
        place, size, shift = place + 1, 0, 0
        while True:  # the length: seven bits a byte, the lowest first, the eighth says that more follow
            byte = content[place]
            size |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        place += size
    return found


def train_tokenizer(
    corpus: PathLike,
    out: PathLike,
    vocab_size: int,
    alpha: float = 0.3,
    coverage: float = 0.9995,
    max_lines: int = 5_000_000,
    langs: Iterable[str] = (),
) -> Tokenizer:
    """Train a unigram model on a corpus, small languages upsampled.

    Args:
        corpus: folder of ``<tag>.txt``.
        out: the ``.model`` file to write.
        vocab_size: pieces wanted; fewer come out where the text has not enough.
        alpha: languages are drawn by ``p ~ lines ** alpha`` (0.3 in XLM-R).
        coverage: share of characters that get a piece of their own.
        max_lines: lines to train on, over all languages.
        langs: the tags to take; empty takes all.

    Returns:
        The trained tokenizer.

    Raises:
        ValueError: the text is too little for any model.
    """
    import sentencepiece

    files = corpus_files(corpus, langs)
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
                # Every line floor(rate) times, and once more for as many as the fraction asks for, spread evenly.
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
            reason = str(error).splitlines()[0].rpartition("] ")[2]  # without its source line and condition
            raise ValueError(f"cannot train {vocab_size} pieces on {corpus}: {reason}") from error
        with atomic_write(out, "wb") as stream:
            stream.write(Path(folder, "spm.model").read_bytes())
    return Tokenizer(out)
