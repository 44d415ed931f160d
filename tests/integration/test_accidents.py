"""Every command under every accident to its --out: one line, nothing half-written, and the next run makes it good.

scripts/accident_table.py writes what these tests see to docs/accidents.md.
"""

import json
import os

import pytest
from accident_commands import COMMANDS, Bench
from accident_outputs import reference
from accident_race import VARIANTS, race
from accidents import ACCIDENTS, Disk, mounted, run_cell
from made_once import alone

SLOW = {
    "fairseq-train": ("disk full late", "link as --out", "SIGINT", "twice at once"),
    "analyze embeddings": ("disk full late", "mount point as --out", "SIGTERM", "twice at once"),
}
"""Commands whose runs take seconds, and their accidents here: the script runs the others, too. SIGTERM and SIGKILL in a
training have separate tests in test_signals.py and test_faults.py."""
TABLE = "LANGSAMP_ACCIDENTS"
"""Environment variable: a file that gets every cell as a line of JSON."""
ROUNDS = "LANGSAMP_ROUNDS"
"""Environment variable: rounds of a race."""
CELLS = [
    (name, accident)
    for name in COMMANDS
    for accident in ACCIDENTS
    if accident in SLOW.get(name, ACCIDENTS) or TABLE in os.environ
]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount small disks and to give folders away")


@pytest.fixture(scope="module")
def bench(gallery, tmp_path_factory):
    from langsamp_plugin.megatron.import_model import import_to_megatron

    work = tmp_path_factory.mktemp("accidents")
    with alone(tmp_path_factory, "gallery"):
        if not (gallery / "megatron").exists():
            import_to_megatron(gallery / "last.pt", gallery / "megatron", spm=gallery / "spm.model")
    (work / "disk").mkdir()
    with mounted(work / "disk"):
        bench = Bench(gallery, work)
        yield bench
        bench.close()


@pytest.fixture(scope="module")
def known(bench):
    """What each command writes when nothing happens, found out when it is needed."""
    found = {}

    def of(name):
        if name not in found:
            folder = bench.work / "known" / name.replace(" ", "_")
            folder.mkdir(parents=True)
            found[name] = reference(bench, name, folder)
        return found[name]

    return of


@pytest.mark.parametrize(("name", "accident"), CELLS, ids=[f"{name}: {accident}" for name, accident in CELLS])
def test_accident(bench, known, name, accident):
    disk = Disk(bench.work / "disk")
    folder = disk.folder / f"{name}-{accident}".replace(" ", "_")
    cell = run_cell(bench, name, accident, known(name), folder, disk)
    if TABLE in os.environ:
        with open(os.environ[TABLE], "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"command": name, "accident": accident, **cell._asdict()}) + "\n")
    assert not cell.faults, "\n".join(cell.faults)


@pytest.mark.parametrize("name", VARIANTS)
def test_race(bench, tmp_path, name):
    """Two runs into one place: one wins and what it wrote is complete, the other is told."""
    rounds = int(os.environ.get(ROUNDS, 1 if name == "fairseq-train" else 3))
    found = race(bench, name, tmp_path, rounds)
    if TABLE in os.environ:
        with open(os.environ[TABLE], "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"race": name, "rounds": rounds, **found}) + "\n")
    assert sum(found.values()) == rounds


def test_every_command_that_writes_is_there():
    import langsamp_plugin.cli  # noqa: F401 - registers
    from langsamp_plugin.commands.app import analyze_app, app, megatron_app, tokenizer_app

    groups = {"": app, "tokenizer ": tokenizer_app, "analyze ": analyze_app, "megatron ": megatron_app}
    names = {
        f"{group}{command.name or command.callback.__name__.strip('_')}"
        for group, part in groups.items()
        for command in part.registered_commands
    }
    assert names - {"info", "doctor", "user-dir"} == set(COMMANDS) - {"fairseq-train"}
