"""Puts pytest's temporary folders into memory: the tests flush and remove thousands of small files, and some disks take
milliseconds for each."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOT = "PYTEST_DEBUG_TEMPROOT"
"""The environment variable by which pytest takes another folder than the system's."""
FILES, PROCESSES = 8 << 30, 6 << 30
"""Bytes that a complete run may need for its files, and for itself; the former with a wide margin."""
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container says how much memory it may use, with either version of control groups."""


def use_memory():
    """Put them there if there is room, unless the user has chosen a folder."""
    if ROOT not in os.environ and "TMPDIR" not in os.environ and has_room():
        os.environ[ROOT] = str(MEMORY)


def has_room():
    """Return whether files in memory leave enough of it to the tests."""
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        memory = int(fields["MemAvailable"].split()[0]) << 10
        for limit in map(Path, LIMITS):
            if limit.is_file() and (number := limit.read_text().strip()).isdigit():
                memory = min(memory, int(number))
        return shutil.disk_usage(MEMORY).free >= FILES and memory >= FILES + PROCESSES and os.access(MEMORY, os.W_OK)
    except (OSError, KeyError, ValueError):  # not Linux
        return False
