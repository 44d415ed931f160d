"""Folders that all workers of pytest-xdist use, and that one of them makes."""

import fcntl
import os
import shutil
from contextlib import contextmanager


@contextmanager
def alone(tmp_path_factory, name):
    """Give the path of such a folder, while no other worker is here with the same name."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


def made_once(tmp_path_factory, name, make):
    """Make a folder that no test changes, once for all workers; the others wait for it."""
    with alone(tmp_path_factory, name) as folder:
        if not folder.exists():
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a worker that failed
            make(partial)
            partial.rename(folder)
    return folder
