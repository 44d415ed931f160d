"""A SentencePiece model whose ids follow a ``dict.txt`` with a different order.

``fairseq-preprocess`` without ``--srcdict`` sorts the dictionary by frequency, drops pieces that do not occur in the
text, and pads it to a multiple of 8 with ``madeupword0000``. The rows of a model trained on that data follow this
order.
"""

from __future__ import annotations

from collections.abc import Sequence

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.vocabulary.tokenizer import UNK, Tokenizer


class OrderedTokenizer(Tokenizer):
    """Splits text by a SentencePiece model and numbers it by a dictionary.

    Args:
        path: the SentencePiece model.
        pieces: the pieces of the dictionary, in id order from 4; a piece of the model that is not among them is
            ``<unk>``.

    Attributes:
        model_pieces: those of the model, in its own order.
    """

    def __init__(self, path: PathLike, pieces: Sequence[str]):
        super().__init__(path)
        self.model_pieces = self.pieces
        self.pieces = list(pieces)
        row = {piece: number for number, piece in enumerate(self.pieces, 4)}
        self._token_ids[3:] = [row.get(piece, UNK) for piece in self.model_pieces]
