"""Imports point one way, and what other trainers could carry needs no fairseq."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import langsamp_plugin

NAME = "langsamp_plugin"
# The path of the data: a module may import modules of its layer and of the layers above it in this list. Training
# comes after checkpoint, because it checks and repairs checkpoint files; criterion and task learn from it when a run
# must end.
LAYERS = [
    (
        "code_tables",
        "errors",
        "interruption",
        "lock",
        "manifest",
        "source_files",
        "place",
        "temporary",
        "atomic",
        "own_files",
    ),
    ("lang_script", "progress", "spelling"),
    ("corpus",),
    ("vocabulary",),
    ("data",),
    ("modules",),
    ("models", "optim"),
    ("checkpoint",),
    ("training",),
    ("criterions", "tasks"),
    ("convert",),
    ("hf",),
    ("megatron",),
    ("evaluation",),
    ("analysis", "report"),
    ("doctor", "info"),
    ("commands",),
    ("cli",),
]
ROOMS = (
    *("lang_script", "corpus", "vocabulary", "data", "modules", "models", "checkpoint", "convert", "evaluation"),
    *("report", "commands", "cli"),
)
"""The rooms that a line of text passes on its way from the disk to a table."""
PLAIN = (
    *("lang_script", "modules", "data.hashing", "data.masking", "data.permutation", "data.sampling"),
    *("data.splits", "data.tagged_blocks", "data.tag_losses", "hf"),
)
"""Torch and numpy alone, so that another trainer can take them as they are."""


def imported(source):
    """The dotted names that a module imports, also inside its functions, except for type checkers alone."""
    names, nodes = set(), [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written out in full"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        nodes += ast.iter_child_nodes(node)
    return names


def inside(name, module):
    return f"{name}.".startswith(f"{module}.")


def resolved(imports):
    """The same with names of the package shortened to modules; importing the package itself only registers."""
    found = {}
    for module, names in imports.items():
        nearest = {max((other for other in imports if inside(name, other)), key=len, default=name) for name in names}
        found[module] = nearest - {NAME}
    return found


@pytest.fixture(scope="module")
def imports():
    folder = Path(langsamp_plugin.__file__).parent
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = imported(path.read_text(encoding="utf-8"))
    assert len(found) > 60
    return found


def layer(module):
    places = {name: place for place, names in enumerate(LAYERS) for name in names}
    own = [name for name in places if inside(module, f"{NAME}.{name}")]
    assert own, f"{module} is in no layer: put it into LAYERS of tests/unit/test_imports.py"
    return places[max(own, key=len)]


def against_the_order(imports):
    return [
        f"{module} imports {name}"
        for module, names in resolved(imports).items()
        for name in sorted(names)
        if module != NAME and inside(name, NAME) and layer(module) < layer(name)
    ]


def needing(package, imports):
    """The modules of PLAIN that import a package, directly or through other modules."""
    graph = resolved(imports)
    found = []
    for start in graph:
        if not any(inside(start, f"{NAME}.{name}") for name in PLAIN):
            continue
        seen, todo = set(), [start]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += graph.get(module, ())
        if any(inside(name, package) for name in seen):
            found.append(start)
    return found


def test_imports_point_one_way(imports):
    assert against_the_order(imports) == []
    # The control: the table of codes that knew a command would be seen.
    planted = {**imports, f"{NAME}.lang_script": {f"{NAME}.commands.app.app"}}
    assert against_the_order(planted) == [f"{NAME}.lang_script imports {NAME}.commands.app"]


@pytest.mark.parametrize("earlier, later", [(a, b) for a, b in zip(ROOMS, ROOMS[1:])])
def test_each_room_imports_only_from_those_before_it(imports, earlier, later):
    module = next(name for name in sorted(imports) if inside(name, f"{NAME}.{earlier}"))
    target = max(name for name in imports if inside(name, f"{NAME}.{later}"))
    planted = {**imports, module: {*imports[module], f"{target}.something"}}
    assert against_the_order(planted) == [f"{module} imports {target}"]


def test_no_module_needs_itself(imports):
    graph = resolved(imports)
    assert len(list(TopologicalSorter(graph).static_order())) > len(imports)
    with pytest.raises(CycleError):
        TopologicalSorter({**graph, f"{NAME}.atomic": {f"{NAME}.lang_script"}}).prepare()


def test_plain_parts_need_no_fairseq(imports):
    assert needing("fairseq", imports) == []
    # The control goes through another module: sampling and masking number their draws by hashing.
    imports = {**imports, f"{NAME}.data.hashing": {"fairseq.data.data_utils"}}
    assert f"{NAME}.data.sampling" in needing("fairseq", imports)


def test_what_is_for_type_checkers_alone_does_not_count():
    source = "if TYPE_CHECKING:\n    import one\nelse:\n    import two\ndef run():\n    from three.four import five\n"
    assert imported(source) == {"two", "three.four.five"}
