"""Locks: one owner, the dead recognised, on this machine, in containers and on shared disks."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, WITHOUT_FAIRSEQ

from langsamp_plugin import lock, temporary
from langsamp_plugin.errors import InUseError
from langsamp_plugin.lock import Owner, hold
from langsamp_plugin.place import claim_folder

HOLDER = f"""{WITHOUT_FAIRSEQ}
import sys, time
from pathlib import Path
from langsamp_plugin import lock, temporary
if len(sys.argv) > 2:  # another machine, whose system's locks are not seen here
    temporary.boot_id = lock.boot_id = lambda: sys.argv[2]
    lock.BEAT_S = 0.2
with lock.hold(Path(sys.argv[1]), "the place"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds a lock."""
    started = []

    def start(*more, prefix=()):
        command = [*prefix, sys.executable, "-c", HOLDER, tmp_path / ".lock", *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def refused(path):
    with pytest.raises(InUseError) as caught, hold(path, "the place"):
        pass
    return str(caught.value)


def test_the_second_hears_of_the_first(holder, tmp_path):
    process = holder()
    text = refused(tmp_path / ".lock")
    assert f"the place is being written by process {process.pid} on {os.uname().nodename} since 2" in text
    process.send_signal(signal.SIGKILL)
    process.wait()
    with hold(tmp_path / ".lock", "the place"), hold(tmp_path / ".lock", "again, by the same"):
        assert os.listdir(tmp_path) == [".lock"]
    assert not os.listdir(tmp_path)


def test_a_fork_that_lives_on_does_not_hold_it(tmp_path):
    code = HOLDER.replace(
        'print("held", flush=True)', "import os; os.fork() or time.sleep(3); print('held', flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True, env=environment
    )
    process.stdout.readline()
    assert refused(tmp_path / ".lock")
    process.kill()
    process.wait()
    with hold(tmp_path / ".lock", "the place"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces")
def test_containers_with_equal_process_numbers(holder, tmp_path):
    """Both are process 1 of separate namespaces, on hosts with equal names."""
    holder(prefix=("unshare", "--pid", "--fork", "--kill-child", "--uts"))
    code = HOLDER.replace("time.sleep(60)", "")
    command = ["unshare", "--pid", "--fork", "--kill-child", "--uts", sys.executable, "-c", code, tmp_path / ".lock"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    second = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    assert second.returncode == 1 and "is being written by process 1 on " in second.stderr


def without_locks(monkeypatch):
    """A shared disk on which the locks of other machines are not seen, so that each lock request succeeds."""
    monkeypatch.setattr(temporary, "try_flock", lambda descriptor: True)
    monkeypatch.setattr(lock, "try_flock", lambda descriptor: True)


def test_another_machine_on_a_shared_disk(holder, tmp_path, monkeypatch):
    without_locks(monkeypatch)
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 3.0)  # a loaded machine may pause a process for a second
    process = holder("another machine")
    time.sleep(3.5)  # longer than it takes to be dead: it is touched
    assert f"process {process.pid} on " in refused(tmp_path / ".lock")
    process.kill()
    process.wait()
    time.sleep(3.2)
    with hold(tmp_path / ".lock", "the place"):
        pass


def test_this_machine_without_the_systems_locks(tmp_path, monkeypatch):
    """Its processes are known by number and start, so that a number that is used again does not count."""
    monkeypatch.setattr(temporary, "try_flock", lambda descriptor: None)
    monkeypatch.setattr(lock, "try_flock", lambda descriptor: None)
    path = tmp_path / ".lock"
    path.write_text(json.dumps(Owner.current()._asdict()))
    assert refused(path)
    path.write_text(json.dumps(Owner.current()._replace(started="1")._asdict()))
    with hold(path, "the place"):
        pass
    assert not os.listdir(tmp_path)


def test_a_file_system_without_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError(1, "no links here")))
    with hold(tmp_path / ".lock", "the place"):
        assert os.listdir(tmp_path) == [".lock"]
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1}'])
def test_a_damaged_lock_says_nobody(tmp_path, content, monkeypatch):
    path = tmp_path / ".lock"
    path.write_text(content)
    assert "another process" in refused(path)
    os.utime(path, (1, 1))
    with hold(path, "the place"):
        pass


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path):
    path = tmp_path / "file"
    living, descriptor = temporary.create_temporary(path)
    dead = temporary.temporary_name(path)
    dead.write_text("half")
    elsewhere = tmp_path / ".file.00000000-0123456789ab.tmp"  # of another machine, where it may still grow
    elsewhere.write_text("half")
    somebodys = tmp_path / ".file.tmp"
    somebodys.write_text("of another program")
    temporary.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {living, elsewhere, somebodys}
    os.close(descriptor)
    os.utime(elsewhere, (1, 1))
    temporary.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {somebodys}


def test_a_folder_is_tried_before_the_work(tmp_path):
    with (
        pytest.raises(OSError, match="it takes .* bytes or more, and .* are free"),
        claim_folder(tmp_path / "a" / "b", 2**60),
    ):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match="file could not be written, choose another place"),
        claim_folder(tmp_path / "file"),
    ):
        pass
    with claim_folder(tmp_path / "a" / "b") as folder, claim_folder(folder, part="other"):
        assert sorted(os.listdir(folder)) == [".lock", ".lock-other"]
    assert os.listdir(tmp_path) == ["file"]
