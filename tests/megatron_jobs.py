"""What the ranks of the Megatron tests do; a rank imports this module by name."""

import multiprocessing

import torch

from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables
from langsamp_plugin.megatron.cpu import on_cpu
from langsamp_plugin.megatron.sizes import ModelSizes, transformer_config
from langsamp_plugin.megatron.weights import rank_slice

TABLES = Tables(LanguageTable(["eng", "deu", "rus"]), ScriptTable(["Latn", "Cyrl"]))
SIZES = ModelSizes(layers=3, width=32, inner=64, heads=4, words=101, positions=40)


def build(sizes, weights, ranks=1, rank=0, padded=None, **options):
    """A model without dropout and with these weights, given as those of one rank."""
    from langsamp_plugin.megatron.model import LangSampBertModel

    fields = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "use_cpu_initialization": True, **options}
    config = transformer_config(sizes, tensor_model_parallel_size=ranks, **fields)
    model = LangSampBertModel(
        config, num_words=sizes.words, max_positions=sizes.positions, tables=TABLES, embed_tags=sizes.embed_tags,
        padded_words=padded, post_norm=sizes.post_norm, token_types=sizes.token_types,
    )  # fmt: skip
    own = {name: rank_slice(name, tensor, rank, ranks) for name, tensor in weights.items()}
    missing, unexpected = model.load_state_dict(own, strict=False)
    assert not unexpected and all(name.endswith("_extra_state") for name in missing), (missing, unexpected)
    return model


def forward_backward(sizes, weights, batch, padded, sequence_parallel=False):
    """Logits, losses, and gradients of the word embedding, a LayerNorm and both tables."""
    from megatron.core import parallel_state

    rank, ranks = parallel_state.get_tensor_model_parallel_rank(), parallel_state.get_tensor_model_parallel_world_size()
    tags = {name: batch[name] for name in ("lang_ids", "script_ids")}
    with on_cpu():
        model = build(sizes, weights, ranks, rank, padded, sequence_parallel=sequence_parallel)
        with torch.no_grad():
            logits = model(batch["tokens"], batch["mask"], **tags)
        losses = model(batch["tokens"], batch["mask"], **tags, labels=batch["labels"])
        losses.sum().backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    if sequence_parallel:  # what Megatron's finalize_model_grads does between backward pass and optimizer
        for name, parameter in model.named_parameters():
            if getattr(parameter, "sequence_parallel", False):
                torch.distributed.all_reduce(grads[name])
    return {"logits": logits, "losses": losses.detach(), "grads": grads}


def save_in_slices(source, out):
    """Load a checkpoint as Megatron does, each rank its slice, and save it again."""
    import os

    from megatron.core import dist_checkpointing, parallel_state

    from langsamp_plugin.megatron.layout import stored_tables
    from langsamp_plugin.megatron.model import LangSampBertModel
    from langsamp_plugin.megatron.record import read_record
    from langsamp_plugin.megatron.run_checkpoint import results_in_this_process
    from langsamp_plugin.megatron.stored import check_stored, open_stored

    folder = check_stored(source)
    sizes = read_record(folder).sizes
    with on_cpu():
        ranks = parallel_state.get_tensor_model_parallel_world_size()
        config = transformer_config(sizes, tensor_model_parallel_size=ranks, use_cpu_initialization=True)
        model = LangSampBertModel(
            config, num_words=sizes.words, max_positions=sizes.positions, tables=stored_tables(open_stored(folder))
        )
        state = dist_checkpointing.load({"model": model.sharded_state_dict()}, str(folder))
        model.load_state_dict(state["model"])
        os.makedirs(out, exist_ok=True)
        with results_in_this_process():
            dist_checkpointing.save({"model": model.sharded_state_dict()}, out)


def run_training(options):
    """Train, and return the steps."""
    from langsamp_plugin.megatron.options import TrainingOptions
    from langsamp_plugin.megatron.training import train

    steps = [tuple(step) for step in train(TrainingOptions(**options))]
    assert not multiprocessing.active_children(), "a save leaves a process behind, which a kill would not reach"
    return steps
