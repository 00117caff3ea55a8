"""Main memory: how much there is, and how much is free, with the limits of a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# Limit, use and statistics of a control group, version 2 and version 1.
_GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def host_bytes(root: Path = _ROOT) -> int:
    """Memory of this machine, or of the container around this process if that is less.

    Args:
        root: where /sys is mounted.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(total for total, _ in _limits(root))])


def free_host_bytes(root: Path = _ROOT) -> int:
    """Bytes of main memory that this process may still take, with the limit of its container.

    Args:
        root: where /proc and /sys are mounted.
    """
    within = [total - used for total, used in _limits(root)]
    return max(min([_available(root / "proc/meminfo"), *within]), 0)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit of each control group that has one, and what is used of it and not given back."""
    group = root / "sys/fs/cgroup"
    for limit, usage, stat in _GROUPS:
        total, used = _number(group / limit), _number(group / usage)
        if total is not None and used is not None:
            yield total, used - _cached(group / stat)


def _available(meminfo: Path) -> int:
    try:
        text = meminfo.read_text(encoding="ascii")
    except OSError:  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    entries = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024


def _number(path: Path) -> int | None:
    """The number in a file of a control group; None where there is no limit or no such file."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < 2**60 else None


def _cached(stat: Path) -> int:
    """Bytes of file cache that the kernel gives back when they are needed."""
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    entries = dict(line.split() for line in lines)
    return int(entries.get("total_inactive_file", entries.get("inactive_file", 0)))
