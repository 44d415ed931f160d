"""What each of two data-parallel workers does for tests/parity/test_data_parallel.py, and how they are started."""

import socket

import torch
from small_step import build, make_batch, step, worst
from warm_functions import Called

TABLES = {"both": {"lang", "script"}, "lang": {"lang"}, "script": {"script"}, "none": set()}


def half_of(batch, rank):
    """Return the rows of one worker."""
    rows = slice(rank, None, 2)
    inputs = {name: value[rows] for name, value in batch["net_input"].items()}
    return {**batch, "net_input": inputs, "target": batch["target"][rows], "nsentences": 3, "ntokens": 51}


def gradients(tags, find_unused, kind, rank):
    """Return the gradients of a complete batch, and the sum of those of two workers with half of it each."""
    model = build(dropout=0.0, attention_dropout=0.0, embed_tags=tags)
    batch = make_batch()
    _, alone, _ = step(model, batch, kind)
    model.zero_grad()
    parallel = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=find_unused)
    _, together, _ = step(parallel, half_of(batch, rank), kind)
    return alone, {name.partition(".")[2]: 2 * gradient for name, gradient in together.items()}


def work(rank, port):
    """Be one worker."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {}
    for tags in TABLES:
        for find_unused in (False, True):
            for kind in ("plain", "blocks"):
                alone, together = gradients(tags, find_unused, kind, rank)
                tables = {part for part in ("lang", "script") if f"encoder.{part}_embedding.weight" in together}
                found[tags, find_unused, kind] = (worst(together, alone), tables)
    # The control: the other worker's rows twice, which neither sum contains.
    model, batch = build(dropout=0.0, attention_dropout=0.0), make_batch()
    _, alone, _ = step(model, batch, "plain")
    _, twice, _ = step(model, half_of(batch, 0), "plain")
    control = worst({name: 2 * gradient for name, gradient in twice.items()}, alone)
    torch.distributed.destroy_process_group()
    return found, control


def run_two_workers():
    """Start both and return what each found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [Called(work, rank, port) for rank in range(2)]
    return [worker.result() for worker in workers]
