"""What processes of the tests do once, so that neither their forks nor the commands that they run do it again.

Each of these took a tenth of a second or more of every command: together more than the commands themselves. What they
replace stays replaced, unless ``replace`` is the ``setattr`` of a ``pytest.MonkeyPatch``.
"""

import ctypes
import functools
import gc
import importlib
import weakref
from pathlib import Path

TRAINING = ("fairseq_cli.train", "torch._dynamo", "torch.distributed.fsdp")
"""What a training imports; the last two not before it has started."""


def build_command_line_once(replace=setattr):
    """Have typer make its parser of all commands once instead of in each run."""
    import typer.main

    if not hasattr(typer.main.get_command, "cache_info"):
        replace(typer.main, "get_command", functools.cache(typer.main.get_command))


def read_a_command_line():
    """Let typer import what it needs first when it reads arguments."""
    import typer

    app = typer.Typer()
    app.command()(lambda: None)
    app(args=[], standalone_mode=False)


def read_training_options():
    """Read a training command's flags once: hydra's parser, which fairseq uses, is much faster the second time."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    command = ["data", "--task", "masked_lm", "--criterion", "masked_lm", "--arch", "roberta_base", "--optimizer",
               "adam"]  # fmt: skip
    convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=command))


def normalise_once(replace=setattr):
    """Derive the fast tokenizer's normaliser once from each set of rules, the same in all the tests' vocabularies."""
    from langsamp_plugin.convert import tokenizer_files

    stock, known = tokenizer_files.exact_normalizer, {}

    def exact_normalizer(charsmap, inner):
        if charsmap not in known:
            known[charsmap] = stock(charsmap, inner)
        return known[charsmap]

    replace(tokenizer_files, "exact_normalizer", exact_normalizer)


def leave_out_umap(replace=setattr):
    """Take coordinates for UMAP's points: it compiles for half a minute, with threads that no fork survives."""
    from langsamp_plugin.analysis import embeddings

    replace(embeddings, "umap_points", lambda vectors: vectors[:, :2])


def draw_empty_pictures(replace=setattr):
    """Leave pictures empty and small; their files are written by the same libraries in the same way."""
    import textalloc
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    savefig = Figure.savefig

    def save_small(figure, *arguments, **options):
        figure.set_size_inches(1, 1)
        savefig(figure, *arguments, **options)

    replace(Figure, "savefig", save_small)
    replace(Axes, "draw", lambda self, renderer: None)
    replace(Figure, "draw_without_rendering", lambda self: None)
    replace(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
    replace(textalloc, "allocate", lambda *arguments, **options: ([], [], [], []))


def import_all(modules):
    for name in modules:
        importlib.import_module(name)


def before_forks():
    """End the preparations: forks do not look through what was imported here, which would copy its memory."""
    weakref.finalize._registry.clear()  # a fork would clear up behind its parent's libraries when it ends
    gc.collect()
    gc.freeze()
    use_huge_pages()


def use_huge_pages():
    """Move this process's memory into pages of 2 MiB where the kernel can (Linux 6.1): there are fewer to list in each
    fork, which takes a third of the time."""
    libc, collapse, size = ctypes.CDLL(None), 25, 1 << 21
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, file = line.split()[:5]
        start, end = (int(address, 16) for address in addresses.split("-"))
        start, end = -(-start // size) * size, end // size * size
        if access == "rw-p" and file == "0" and start < end:
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), collapse)
