"""Held-out text with the model that reads it: the losses of its masked tokens under any rows of the two tables.

Both classes compute the encoder's states of a batch once, because these do not depend on tags, and then run the head
for each choice of rows. At most one block of the head's logits is in memory.

Tensor names end in their shape: B blocks of text, T tokens, C width, N masked tokens, S choices of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.vocabulary import DIGEST, PADDING
from langsamp_plugin.modules.head_loss import masked_lm_loss
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.vocabulary.dictionary import dictionary_digest, read_dictionary
from langsamp_plugin.vocabulary.folder_tokenizer import FILES, FOLDER
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME

TASK = "langsamp_masked_lm"
MAX_TOKENS = 512
"""Maximum tokens per block for a Hugging Face folder, which does not record the length used in training."""


class CheckpointText:
    """Held-out text for a checkpoint of fairseq, in the blocks and with the masks of its training.

    Args:
        checkpoint: a LangSAMP checkpoint.
        data: the data folder; by default the one that it was trained on.
        split: the split to use.
        batch_size: blocks per batch.
        device: where to compute.

    Attributes:
        tags: tags of the data, sorted.
        rows: int64 (tags, 2), their rows in the language and the script table.

    Raises:
        ModuleNotFoundError: fairseq is not installed.
        ValueError: the model has no table, or was trained on another task.
    """

    def __init__(
        self, checkpoint: PathLike, data: Optional[PathLike], split: str, batch_size: int, device: torch.device
    ):
        import langsamp_plugin

        langsamp_plugin.register()
        from fairseq import checkpoint_utils

        from langsamp_plugin.checkpoint.options import training_task
        from langsamp_plugin.checkpoint.roberta import load_roberta
        from langsamp_plugin.convert.tables_file import tables_of

        if not Path(checkpoint).exists():
            raise FileNotFoundError(f"model {checkpoint} is missing")
        state = load_roberta(checkpoint)
        tables_of(state, checkpoint)  # fail early with a clear error
        task_name = training_task(state)
        if task_name != TASK:  # fairseq must never build a task that a file names
            raise ValueError(f"{checkpoint} must say that it was trained with --task {TASK}, but says {task_name}")
        overrides = {"align_share": 0.0, **({"data": str(data)} if data is not None else {})}  # pairs are not measured
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)], arg_overrides=overrides)
        old = (state.get("task_state") or {}).get(DIGEST)
        new = dictionary_digest(read_dictionary(Path(task.cfg.data.split(":")[0]) / "dict.txt"))
        if old not in (None, new):  # the task itself has the checkpoint's by now
            raise ValueError(
                f"{checkpoint} was trained with another dictionary (hash {old}) than the dict.txt of {task.cfg.data} "
                f"has (hash {new}): binarize the text with the model that the checkpoint was trained with"
            )
        task.load_dataset(split)
        self.encoder, self.pad, self.device = model.to(device).eval().encoder, task.dictionary.pad(), device
        self.tags, self.rows = task.tags, task.tag_rows
        self._iterator = task.get_batch_iterator(task.dataset(split), max_sentences=batch_size)

    def batches(self) -> Iterable[dict[str, Any]]:
        """Return the batches; each has ``tag_ids``, int64 (B,), indices into ``tags``."""
        return self._iterator.next_epoch_itr()

    def losses(self, batch: dict[str, Any], kept_B: Tensor, choices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the losses in nats, float64 (S, N), and the tag of each token, int64 (N,), both on the CPU.

        Args:
            batch: one of :meth:`batches`.
            kept_B: bool, the blocks to use.
            choices: S times int64 (tags, 2), rows for each tag.
        """
        tag_ids_B, target_BT = batch["tag_ids"][kept_B], batch["target"][kept_B]
        masked_BT = target_BT.ne(self.pad)
        tags_N = tag_ids_B.unsqueeze(1).expand_as(masked_BT)[masked_BT]
        target_N = target_BT[masked_BT].to(self.device)
        features_BTC = self.encoder.extract_features(batch["net_input"]["src_tokens"][kept_B].to(self.device))[0]
        features_NC, head, losses = features_BTC[masked_BT.to(self.device)], self.encoder.lm_head, []
        for rows in choices:
            lang_ids, script_ids = rows[tags_N.to(self.device)].unbind(1)
            tags_NC = self.encoder.tag_embedding(lang_ids, script_ids)
            x_NC = features_NC if tags_NC is None else features_NC + tags_NC
            x_NC = head.layer_norm(head.activation_fn(head.dense(x_NC)))
            found = masked_lm_loss(x_NC, head.weight, head.bias, target_N, "blocks")
            losses.append(found.losses_N.double().cpu())
        return torch.stack(losses), tags_N


class FolderText:
    """Held-out text for a Hugging Face folder with tables, of any architecture.

    Args:
        folder: of ``langsamp export`` or of ``save_pretrained``.
        data, split, batch_size, device: see :class:`CheckpointText`; the data folder must be given.
        tokens_per_sample: tokens per block; 0 means :data:`MAX_TOKENS`, or fewer if the model has fewer positions.

    Attributes:
        tags, rows: see :class:`CheckpointText`.

    Raises:
        ValueError: no data folder is given, or the model has no tables or another vocabulary or tokenizer.
    """

    def __init__(
        self, folder: PathLike, data: Optional[PathLike], split: str, batch_size: int, device: torch.device,
        tokens_per_sample: int = 0,
    ):  # fmt: skip
        from langsamp_plugin.evaluation.encoding import load_with
        from langsamp_plugin.hf import DataBin, load_tagged

        if data is None:
            raise ValueError(
                f"{folder} is a Hugging Face folder, which does not name its data: set --data to a data folder"
            )
        self.model = load_with(load_tagged, folder).float().to(device).eval()
        if not any(map(len, self.model.tables)):
            raise ValueError(f"{folder} must have tables, but has none: use a model that was trained with them")
        # RoBERTa's positions start behind the padding id.
        most = min(MAX_TOKENS, getattr(self.model.config, "max_position_embeddings", MAX_TOKENS + 2) - 2)
        if tokens_per_sample == 1 or tokens_per_sample > most:  # the first token is <s>
            raise ValueError(f"--tokens-per-sample must be 2 to {most} for {folder}, but is {tokens_per_sample}")
        self.data = DataBin(data, split, tokens_per_sample=tokens_per_sample or most, with_ids=False)
        self.data.check_model(self.model)
        _check_tokenizer(Path(folder), Path(data))
        self.tags, self.batch_size, self.device = self.data.tags, batch_size, device
        self.rows = np.array([self.data.tables.ids(tag) for tag in self.tags], dtype=np.int64).reshape(-1, 2)
        own_ids = self.model.tag_ids([str(tag) for tag in self.tags])
        for column, (table, ids) in enumerate(zip(self.model.tables, own_ids)):
            if len(table):
                self.rows[:, column] = ids.cpu().numpy()

    def batches(self) -> Iterator[dict[str, Any]]:
        """Return the batches, see :meth:`CheckpointText.batches`."""
        blocks = self.data.blocks
        for first in range(0, len(blocks), self.batch_size):
            positions = range(first, min(first + self.batch_size, len(blocks)))
            yield self.data.collate(blocks.read(positions, 1), with_tags=True)

    def losses(self, batch: dict[str, Any], kept_B: Tensor, choices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return losses and tags, see :meth:`CheckpointText.losses`."""
        from langsamp_plugin.hf.heads import find_head
        from langsamp_plugin.hf.loss import token_losses

        tag_ids_B, labels_BT = batch["tag_ids"][kept_B], batch["labels"][kept_B]
        masked_BT = labels_BT != IGNORED
        inputs = {name: batch[name][kept_B].to(self.device) for name in ("input_ids", "attention_mask")}
        features_BTC = self.model.base_model(**inputs, return_dict=True)[0]
        losses = []
        for rows in choices:
            tags_BC = self.model.tag_rows(features_BTC, tuple(rows[tag_ids_B.to(self.device)].unbind(1)))
            found = token_losses(find_head(self.model), features_BTC, tags_BC, labels_BT, None)
            losses.append(found.losses_N.double().cpu())
        return torch.stack(losses), tag_ids_B.unsqueeze(1).expand_as(masked_BT)[masked_BT]


def _check_tokenizer(folder: Path, data: Path) -> None:
    """Raise ``ValueError`` if data were made with another tokenizer than that of the folder, if it has one: ids would
    mean other pieces, and only high losses would show it."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in (*FILES, SPM_FILENAME)):
        return
    own = AutoTokenizer.from_pretrained(folder).get_vocab()
    if (data / FOLDER).is_dir():
        wanted = AutoTokenizer.from_pretrained(data / FOLDER).get_vocab()
    else:
        wanted = {piece: number for number, piece in enumerate(read_dictionary(data / "dict.txt"), 4)}
    other = [piece for piece, number in wanted.items() if own.get(piece) != number and not piece.startswith(PADDING)]
    if other:
        raise ValueError(
            f"{data} must be binarized with the tokenizer of {folder}, but {len(other):,} of {len(wanted):,} pieces "
            f"have another id there, first {other[0]!r}: binarize the text with that tokenizer"
        )


def open_held_out(
    model: PathLike,
    data: Optional[PathLike],
    split: str,
    batch_size: int,
    device: torch.device,
    tokens_per_sample: int = 0,
) -> Union[CheckpointText, FolderText]:
    """Return the text for a checkpoint of fairseq or for a Hugging Face folder.

    Raises:
        ValueError: ``tokens_per_sample`` is given for a checkpoint, which has its own.
    """
    if Path(model).is_dir():
        return FolderText(model, data, split, batch_size, device, tokens_per_sample)
    if tokens_per_sample:
        raise ValueError(
            f"--tokens-per-sample must be left out for a checkpoint, which has its own, but is {tokens_per_sample}"
        )
    return CheckpointText(model, data, split, batch_size, device)
