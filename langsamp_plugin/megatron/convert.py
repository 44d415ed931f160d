"""Checkpoints of fairseq and Hugging Face folders to Megatron-Core, and back, bit for bit."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.checkpoint.fresh_checkpoint import check_out, fresh_checkpoint, save_checkpoint
from langsamp_plugin.checkpoint.options import architecture, model_beside_data
from langsamp_plugin.checkpoint.roberta import check_tags, load_roberta
from langsamp_plugin.checkpoint.tables import checkpoint_tables
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, is_xl
from langsamp_plugin.convert.hf_folder import read_hf_folder
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.convert.own_folder import check_replaceable, own_folder
from langsamp_plugin.convert.source_folder import find_folder
from langsamp_plugin.convert.verification import Verification
from langsamp_plugin.errors import error_context
from langsamp_plugin.megatron.layout import from_stored, to_stored
from langsamp_plugin.megatron.sizes import ModelSizes
from langsamp_plugin.megatron.stored import RELEASE, mark_latest, open_stored, write_stored
from langsamp_plugin.megatron.weights import FAIRSEQ_TOKEN_TYPES, folded_positions, to_fairseq, to_megatron
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer

RECORD = "langsamp.json"
"""Beside the weights: sizes and tags, as JSON."""
MULTIPLE = 128
"""Megatron pads a vocabulary to a multiple of this times the tensor-parallel size (--make-vocab-size-divisible-by)."""
MEGATRON_ARGS = Namespace(
    tensor_model_parallel_size=1, pipeline_model_parallel_size=1, world_size=1, data_parallel_size=1,
    no_save_optim=True, no_save_rng=True,
)  # fmt: skip
"""What Megatron-LM's own loop asks of a checkpoint: how many ranks wrote it, and that it has no optimizer's state."""
HF_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
HF_POSITIONS = "embeddings.position_embeddings.weight"
_PREFIX = "roberta."


class Record(NamedTuple):
    """What a checkpoint says of itself.

    Args:
        sizes: the model's.
        tags: the tags it was trained on.
    """

    sizes: ModelSizes
    tags: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"sizes": self.sizes._asdict(), "tags": self.tags}

    @classmethod
    def from_json(cls, value: Any) -> Record:
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(value, dict) or not isinstance(value.get("sizes"), dict):
            raise ValueError("it must be an object with sizes and tags")
        fields = value["sizes"]
        if fields.keys() != set(ModelSizes._fields):
            raise ValueError(
                f"its sizes must be {' '.join(ModelSizes._fields)}, but are {' '.join(sorted(fields))[:200]}"
            )
        sizes = ModelSizes(**fields)
        sizes.check()
        check_tags(value.get("tags"))
        return cls(sizes, list(value.get("tags") or []))


def import_to_megatron(
    source: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    multiple: int = MULTIPLE,
    ranks: int = 1,
    allow_pickle: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> tuple[list[str], Optional[Verification]]:
    """Write a checkpoint that Megatron-Core starts from, with any number of ranks.

    Args:
        source: a Hugging Face folder, or a checkpoint of fairseq.
        out: the folder to write; one that this function wrote and nobody changed is replaced once the new one is
            complete.
        spm: the SentencePiece model; by default the one in the folder, or in the checkpoint's data folder.
        multiple, ranks: the vocabulary is padded to a multiple of their product.
        allow_pickle: also read Hugging Face weights that are only there as a pickle.
        overwrite: replace any earlier folder of this kind.
        verify: compare every layer of Megatron's model with fairseq's before the folder takes its place.

    Returns:
        What a user must know, a sentence each, and what the comparison found.

    Raises:
        FileNotFoundError: the source or its SentencePiece model is missing.
        ModuleNotFoundError: verifying needs a package that is not installed.
        ValueError: the source is damaged, or the sizes do not divide by the ranks.
        VerificationError: the two sides differ.
    """
    if multiple < 1 or ranks < 1:
        raise ValueError(f"--pad-to and --tensor-parallel must be at least 1, but are {multiple} and {ranks}")
    if verify:
        require_megatron()
    out = Path(out)
    with atomic_folder(out, marker=RECORD, overwrite=overwrite) as folder:
        state, notes = _fairseq_state(source, folder, spm, allow_pickle)
        weights = state["model"]
        with error_context(source):
            sizes = _sizes(state)
            if sizes.heads % ranks:
                raise ValueError(f"its {sizes.heads} heads must divide by the {ranks} ranks of --tensor-parallel")
            _check_tied(weights)
            padded = sizes.words + -sizes.words % (multiple * ranks)
            tensors = to_stored(to_megatron(weights, sizes, padded), sizes)
        record = Record(sizes, list((state.get("task_state") or {}).get("tags") or []))
        (folder / RELEASE).mkdir()
        common = {"iteration": 0, "checkpoint_version": 3.0, "args": MEGATRON_ARGS, "langsamp": record.to_json()}
        write_stored(folder / RELEASE, tensors, common)
        mark_latest(folder, RELEASE)
        (folder / RECORD).write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")
        notes.append(f"vocabulary padded from {sizes.words:,} to {padded:,} rows")
        found = None
        if verify:
            from langsamp_plugin.megatron.verification import verify_stored

            found = verify_stored(state, Tokenizer(folder / SPM_FILENAME), folder, record, padded)
            found.check()
    return notes, found


def export_from_megatron(
    source: PathLike,
    out: PathLike,
    *,
    spm: Optional[PathLike] = None,
    record: Optional[PathLike] = None,
    overwrite: bool = False,
    verify: bool = False,
) -> Optional[Verification]:
    """Write a checkpoint of Megatron-Core as one of fairseq, or as a Hugging Face folder.

    Args:
        source: a run's folder, of which the newest iteration is taken, or the folder of an iteration.
        out: a file that ends in ``.pt`` (fairseq), else a folder (Hugging Face).
        spm: the SentencePiece model; by default the one beside the checkpoint.
        record: the ``langsamp.json`` that the training started from, where the checkpoint has none.
        overwrite: replace what is there.
        verify: compare every layer with Megatron's model, and in a Hugging Face folder with fairseq's, before anything
            takes its place.

    Raises:
        FileNotFoundError: a file is missing.
        ModuleNotFoundError: a package is not installed.
        ValueError: the checkpoint is damaged, carries code, or is of another form.
        VerificationError: the two sides differ.
    """
    out = Path(out)
    if out.suffix == ".pt":
        check_out(out, overwrite)
    else:
        check_replaceable(out, overwrite)
    if verify:
        require_megatron()
    stored = open_stored(source)
    about = read_record(stored.path, record)
    with error_context(stored.path):
        weights = to_fairseq(from_stored(stored, about.sizes), about.sizes)
        row = weights.pop(FAIRSEQ_TOKEN_TYPES, None)
        positions = weights[POSITIONS]
        if row is not None:
            weights[POSITIONS] = folded_positions(positions, row)
    model = Path(spm) if spm is not None else _find_beside(stored.path, SPM_FILENAME)
    state = _checkpoint_state(weights, about, model.parent)
    found = None
    if verify:
        from langsamp_plugin.megatron.verification import verify_stored

        found = verify_stored(state, Tokenizer(model), stored.path, about, None)
        found.check()
    if out.suffix == ".pt":
        save_checkpoint(state, out)
        return found
    from langsamp_plugin.convert.export import export

    with tempfile.TemporaryDirectory(dir=_existing(out.parent)) as folder, own_folder(out, overwrite) as ready:
        save_checkpoint(state, Path(folder) / "model.pt")
        written = export(Path(folder) / "model.pt", ready, spm=model, verify=verify)
        if row is not None:
            _write_token_type(ready, positions, row)
    other = written.verification
    if found is not None and other is not None:
        found = Verification([*found.rows, *other.rows], [*found.notes, *other.notes])
    return found


def read_record(folder: Path, path: Optional[PathLike] = None) -> Record:
    """Return sizes and tags of a checkpoint: from a file, from beside it, or from within.

    Raises:
        FileNotFoundError: they are nowhere.
        ValueError: they are damaged.
    """
    places = [Path(path)] if path is not None else [folder / RECORD, folder.parent / RECORD]
    for place in places:
        if place.is_file():
            with error_context(place):
                return Record.from_json(json.loads(place.read_text(encoding="utf-8")))
    if path is not None:
        raise FileNotFoundError(f"{path} is missing")
    raise FileNotFoundError(
        f"{folder.parent / RECORD} is missing, which says how the model is built: name the one that training started "
        "from with --record"
    )


def require_megatron() -> None:
    """Raise ``ModuleNotFoundError`` unless megatron-core is installed."""
    try:
        found = importlib.util.find_spec("megatron.core") is not None
    except ModuleNotFoundError:  # not even another package of NVIDIA's under that name
        found = False
    if not found:
        raise ModuleNotFoundError("this needs megatron-core: pip install 'langsamp-plugin[megatron]'", name="megatron")


def _fairseq_state(
    source: PathLike, folder: Path, spm: Optional[PathLike], allow_pickle: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return the source as a checkpoint of fairseq, its SentencePiece model and dictionary put into ``folder``."""
    if Path(source).is_file():
        state = load_roberta(source)
        tokenizer = Tokenizer(spm if spm is not None else model_beside_data(state, source, "--spm"))
        shutil.copyfile(tokenizer.path, folder / SPM_FILENAME)
        tokenizer.save_dictionary(folder / "dict.txt")
        rows = len(state["model"][EMBEDDING])
        if rows != tokenizer.vocab_size:
            raise ValueError(
                f"{source} has {rows:,} word embeddings, but {tokenizer.path} makes {tokenizer.vocab_size:,}"
            )
        return state, []
    done = import_checkpoint(source, folder / "model.pt", spm=spm, allow_pickle=allow_pickle)
    state = load_roberta(folder / "model.pt")
    state["model"] = {name: tensor.clone() for name, tensor in state["model"].items()}
    (folder / "model.pt").unlink()
    notes = [note for note in done.notes if "token-type" not in note and "train with" not in note]
    theirs = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in read_hf_folder(find_folder(source), allow_pickle).weights.items()
    }
    row = theirs.get(HF_TOKEN_TYPES)
    if row is not None and row[:1].any():
        # Kept apart as Hugging Face has it, so that the way back gives the same numbers.
        state["model"][POSITIONS], state["model"][FAIRSEQ_TOKEN_TYPES] = theirs[HF_POSITIONS], row[:1].clone()
        notes.append("the token-type row is kept as a token type of Megatron's")
    return state, notes


def _sizes(state: dict[str, Any]) -> ModelSizes:
    weights = state["model"]
    options = architecture(state)
    xl = is_xl(weights)
    if bool(options.get("encoder_normalize_before")) != xl:
        raise ValueError("its LayerNorms must be where XLM-R or XLM-R XL has them, but are elsewhere")
    if options.get("embed_tags_at", "output") == "input":
        raise ValueError("its tables must be at the output, but are at the input: Megatron's model has no such form")
    if options.get("activation_fn", "gelu") != "gelu":
        raise ValueError(f"its activation must be gelu, but is {options['activation_fn']}")
    tables = checkpoint_tables(state)
    return ModelSizes(
        layers=options["encoder_layers"], width=options["encoder_embed_dim"], inner=options["encoder_ffn_embed_dim"],
        heads=options["encoder_attention_heads"], words=len(weights[EMBEDDING]), positions=options["max_positions"],
        eps=float(options.get("layer_norm_eps") or 1e-5), post_norm=not xl,
        token_types=int(FAIRSEQ_TOKEN_TYPES in weights), embed_tags="none" if tables is None else tables.embed_tags,
    )  # fmt: skip


def _check_tied(weights: dict[str, Tensor]) -> None:
    head = weights.get(f"{HEAD}weight")
    if head is not None and not torch.equal(head, weights[EMBEDDING]):
        raise ValueError("the head must be tied to the word embedding, but is not (--untie-weights-roberta)")


def _checkpoint_state(weights: dict[str, Tensor], about: Record, data: Path) -> dict[str, Any]:
    """Return a checkpoint of fairseq that training can start from."""
    sizes = about.sizes
    args = Namespace(
        arch="langsamp_roberta", task="langsamp_masked_lm", criterion="langsamp_masked_lm", data=str(data),
        encoder_layers=sizes.layers, encoder_embed_dim=sizes.width, encoder_ffn_embed_dim=sizes.inner,
        encoder_attention_heads=sizes.heads, max_positions=sizes.positions, tokens_per_sample=sizes.positions,
        activation_fn="gelu", dropout=0.1, attention_dropout=0.1, layer_norm_eps=sizes.eps,
        encoder_normalize_before=not sizes.post_norm, layernorm_embedding=sizes.post_norm,
        embed_tags=sizes.embed_tags if sizes.embed_tags != "none" else "both",
    )  # fmt: skip
    state: dict[str, Any] = {"args": args, "model": weights, "task_state": {"tags": about.tags}}
    tables = checkpoint_tables(state)
    if tables is not None:
        state["task_state"].update(languages=list(tables.languages), scripts=list(tables.scripts))
    return fresh_checkpoint(state, weights)


def _write_token_type(folder: Path, positions: Tensor, row: Tensor) -> None:
    """Put the token-type row and the positions without it into an exported folder, as it was before the import."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors[f"{_PREFIX}{HF_POSITIONS}"], tensors[f"{_PREFIX}{HF_TOKEN_TYPES}"] = positions, row
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _find_beside(folder: Path, name: str) -> Path:
    for place in (folder / name, folder.parent / name):
        if place.is_file():
            return place
    raise FileNotFoundError(f"{folder.parent / name} is missing: name the SentencePiece model with --spm")


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
