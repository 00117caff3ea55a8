"""Main memory of a machine and of the container around a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.prediction.host_memory import free_host_bytes, host_bytes

GB = 10**9


def machine(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


MEMINFO = {"proc/meminfo": "MemTotal: 64000000 kB\nMemAvailable:   32000000 kB\nHugePages: 0\n"}


def test_free_memory_of_a_machine(tmp_path: Path) -> None:
    assert free_host_bytes(machine(tmp_path, MEMINFO)) == 32_000_000 * 1024


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max\n", "memory.current": str(GB)}, 32_000_000 * 1024),
        ({"memory.max": f"{8 * GB}\n", "memory.current": f"{5 * GB}\n"}, 3 * GB),
        (
            {"memory.max": str(8 * GB), "memory.current": str(5 * GB), "memory.stat": f"anon 5\ninactive_file {GB}\n"},
            4 * GB,
        ),
        ({"memory.max": str(8 * GB), "memory.current": str(9 * GB)}, 0),
        ({"memory/memory.limit_in_bytes": str(6 * GB), "memory/memory.usage_in_bytes": str(GB)}, 5 * GB),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "5"}, 32_000_000 * 1024),
    ],
)  # fmt: skip
def test_the_limit_of_a_container_counts(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert free_host_bytes(machine(tmp_path, {**MEMINFO, **groups})) == expected


def test_this_machine_has_memory() -> None:
    assert 2**20 < free_host_bytes() < 2**50
    assert free_host_bytes() <= host_bytes() < 2**50


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": str(GB), "memory.current": "5"},
        {"memory/memory.limit_in_bytes": str(GB), "memory/memory.usage_in_bytes": "5"},
    ],
)
def test_the_memory_of_a_container_is_its_limit(tmp_path: Path, files: dict[str, str]) -> None:
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert host_bytes(machine(tmp_path, groups)) == GB
    assert host_bytes(tmp_path / "without a container") > GB
