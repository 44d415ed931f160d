"""Commands under accidents to their --out: what is run, and what is found afterwards."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

from accident_commands import COMMANDS
from accident_outputs import Cell, differs, hidden
from accident_server import fill


class Scene:
    """The place of one cell: a folder with a foreign file in it.

    Args:
        bench: runs the command.
        name: of the command.
        known: what it writes.
        folder: for this cell alone.
    """

    def __init__(self, bench, name, known, folder):
        self.bench, self.name, self.known, self.place = bench, name, known, folder
        folder.mkdir(exist_ok=True)
        (folder / "mine.txt").write_text("mine")
        self.out = folder / COMMANDS[name].out
        self.faults = []

    def expect(self, holds, fault):
        if not holds:
            self.faults.append(fault)

    def check_failure(self, done, statuses, says):
        """Check how a run ended that could not write."""
        self.expect(done.status in statuses, f"status {done.status}")
        self.expect("Traceback" not in done.output, f"a traceback: {done.output[-1500:]}")
        self.expect("unexpected" not in done.last and done.last.startswith("langsamp: "), f"last line: {done.last}")
        self.expect(any(text in done.last for text in says), f"last line: {done.last}")

    def left(self, killed=False):
        """Say what is there now, and note what should not be."""
        self.expect((self.place / "mine.txt").read_text() == "mine", "the foreign file was changed")
        found = hidden(self.place)
        self.expect(killed or not found, f"left: {found}")
        whole = not differs(self.out, self.known) if self.out.exists() else False
        self.expect(COMMANDS[self.name].resumes or whole or not self.out.exists(), f"half of it: {self.listing()}")
        parts = "nothing" if not self.out.exists() else "all of it" if whole else "finished parts"
        return f"{parts}, and hidden leftovers" if found else parts

    def listing(self):
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*"))[:20]

    def next_run(self, *more):
        """Run it again, now without any accident."""
        before = self.out.exists()
        done = self.bench.run(self.name, self.out, *more)
        self.expect(done.status == 0, f"the next run: {done.output[-800:]}")
        wrong = differs(self.out, self.known)
        self.expect(not wrong, f"after the next run {wrong[:5]}")
        self.expect(not hidden(self.place), f"after the next run there is {hidden(self.place)}")
        return f"{'resumes' if before and COMMANDS[self.name].resumes else 'writes all'}, leftovers removed"


FULL = ("No space left on device", " bytes or more, and ")


def full_early(scene, disk):
    """Not a byte is free from the start."""
    with disk.full(0):
        done = scene.bench.run(scene.name, scene.out)
        scene.check_failure(done, (1,), FULL)
        left = scene.left()
    return done, left, scene.next_run()


def full_late(scene, disk):
    """There is space for half of the output, which cannot be known in advance."""
    room = scene.known.size // 2 // 4096 * 4096
    done = scene.bench.run(scene.name, scene.out, fill=[str(disk.folder), room])
    scene.check_failure(done, (1,), FULL)
    left = scene.left()
    disk.free()
    return done, left, scene.next_run()


def no_permission(scene, disk):
    """The folder is another user's."""
    os.chown(scene.place, 65534, 65534)
    done = scene.bench.run(scene.name, scene.out, nobody=True)
    scene.check_failure(done, (1,), ("Permission denied",))
    left = scene.left()
    os.chown(scene.place, os.geteuid(), os.getegid())
    return done, left, scene.next_run()


def read_only_folder(scene, disk):
    """The folder is one's own, and closed."""
    scene.place.chmod(0o555)
    done = scene.bench.run(scene.name, scene.out, nobody=True)
    scene.check_failure(done, (1,), ("Permission denied",))
    left = scene.left()
    scene.place.chmod(0o755)
    return done, left, scene.next_run()


def link_as_out(scene, disk):
    """--out is a link to a place where nothing is yet, and then to the last run's output."""
    far = scene.place / "far"
    far.mkdir()
    link = scene.out
    link.symlink_to(far / link.name)
    done = scene.bench.run(scene.name, link)
    scene.expect(done.status == 0, done.output[-800:])
    scene.out = far / link.name
    left = scene.left()
    scene.out = link
    following = scene.next_run(*COMMANDS[scene.name].again.split())
    scene.expect(link.is_symlink(), "the link is gone")
    scene.expect(not differs(far / link.name, scene.known), "where it leads to is something else")
    return done, f"{left}, behind the link", following


def mount_point(scene, disk):
    """A file system is mounted at --out, or where its file is."""
    scene.out.mkdir() if "." not in scene.out.name else None
    at = scene.place / "mount" if "." in scene.out.name else scene.out
    at.mkdir(exist_ok=True)
    if "." in scene.out.name:
        scene.out = at / scene.out.name
    with mounted(at):
        device = at.stat().st_dev
        done = scene.bench.run(scene.name, scene.out)
        scene.expect(done.status == 0, done.output[-800:])
        left = scene.left()
        following = scene.next_run(*COMMANDS[scene.name].again.split())
        scene.expect(at.stat().st_dev == device, "it is not mounted any more")
    return done, f"{left}, in the mount", following


def by_signal(number):
    def accident(scene, disk):
        started, go = scene.bench.stop(scene.name, scene.out, max(1, scene.known.events // 2))
        os.kill(started[1], number)
        go.touch()
        done = scene.bench.wait(started)
        if number == signal.SIGKILL:
            scene.expect(done.status == -number, f"status {done.status}")
        elif scene.name == "fairseq-train" and number == signal.SIGTERM:
            scene.expect(done.status == 0 and "Traceback" not in done.output, done.output[-800:])
        else:
            scene.check_failure(done, (128 + number,), ("run the same command again to resume",))
        return done, scene.left(killed=number == signal.SIGKILL), scene.next_run()

    accident.__doc__ = f"{signal.Signals(number).name} in the middle of its writing."
    return accident


def twice_at_once(scene, disk):
    """The same command while another runs: the second's status and last line."""
    started, go = scene.bench.stop(scene.name, scene.out, max(1, scene.known.events // 2))
    done = scene.bench.run(scene.name, scene.out)
    scene.check_failure(done, (1,), (f"is being written by process {started[1]} on {os.uname().nodename} since 2",))
    go.touch()
    first = scene.bench.wait(started)
    scene.expect(first.status == 0, f"the first: {first.output[-800:]}")
    left = scene.left()
    return done, f"{left}, the first's", scene.next_run(*COMMANDS[scene.name].again.split())


def killed_while_replacing(scene, disk):
    """SIGKILL while it replaces the output of an earlier run."""
    done = scene.bench.run(scene.name, scene.out)
    again = COMMANDS[scene.name].again.split()
    inode = scene.out.stat().st_ino
    started, _ = scene.bench.stop(scene.name, scene.out, 1, *again)
    os.kill(started[1], signal.SIGKILL)
    done = scene.bench.wait(started)
    scene.expect(scene.out.exists() and scene.out.stat().st_ino == inode, "the earlier output is gone")
    scene.expect(not differs(scene.out, scene.known), "the earlier output is damaged")
    return done, scene.left(killed=True).replace("all of it", "the earlier output"), scene.next_run(*again)


ACCIDENTS = {
    "disk full early": full_early,
    "disk full late": full_late,
    "no permission": no_permission,
    "read-only folder": read_only_folder,
    "link as --out": link_as_out,
    "mount point as --out": mount_point,
    "SIGINT": by_signal(signal.SIGINT),
    "SIGTERM": by_signal(signal.SIGTERM),
    "SIGKILL": by_signal(signal.SIGKILL),
    "SIGKILL while replacing": killed_while_replacing,
    "twice at once": twice_at_once,
}


@contextmanager
def mounted(folder, size="64m"):
    """Mount an empty file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class Disk:
    """A small file system that can be filled.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder):
        self.folder = folder

    @contextmanager
    def full(self, room):
        fill(self.folder, room)
        try:
            yield
        finally:
            self.free()

    def free(self):
        (self.folder / "ballast").unlink(missing_ok=True)


def run_cell(bench, name, accident, known, folder, disk):
    """Return the :class:`Cell` of a command and an accident; the folder, on the disk, is removed."""
    scene = Scene(bench, name, known, folder)
    try:
        done, left, following = ACCIDENTS[accident](scene, disk)
    finally:
        disk.free()
        shutil.rmtree(folder, ignore_errors=True)
    last = done.last.replace(str(folder), "").replace(str(bench.work), "")
    return Cell(done.status, last, left, following, scene.faults)
