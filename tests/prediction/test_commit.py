"""Case folders appear whole, and what a kill leaves is tidied."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.prediction.commit import commit, new_folder, tidy


def make(cases: Path, case_id: str, content: str) -> Path:
    folder = new_folder(cases, case_id)
    (folder / "seg.bin").write_text(content)
    return commit(folder, cases, case_id, lambda at: (at / "case.json").write_text("{}") and None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gets_its_name_at_the_end(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "a")
    (folder / "seg.bin").write_text("x")

    def write_record(at: Path) -> None:
        assert names(tmp_path) == [at.name]
        assert at.name.startswith(".tmp-a-")
        (at / "case.json").write_text("{}")

    assert commit(folder, tmp_path, "a", write_record) == tmp_path / "a"
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["case.json", "seg.bin"]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    make(tmp_path, "a", "old")
    make(tmp_path, "a", "new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "seg.bin").read_text() == "new"


def test_a_failing_record_leaves_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path, "a", "old")

    def write_record(at: Path) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        commit(new_folder(tmp_path, "a"), tmp_path, "a", write_record)
    tidy(tmp_path)
    assert (tmp_path / "a" / "seg.bin").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_stepped_aside_comes_back(tmp_path: Path) -> None:
    make(tmp_path, "a-1-2", "old").rename(tmp_path / ".old-a-1-2-77-0a1b2c3d")
    new_folder(tmp_path, "a-1-2")
    tidy(tmp_path)
    assert names(tmp_path) == ["a-1-2"]
    assert (tmp_path / "a-1-2" / "seg.bin").read_text() == "old"


def test_a_replaced_folder_goes(tmp_path: Path) -> None:
    make(tmp_path, "a", "old").rename(tmp_path / ".old-a-77-0a1b2c3d")
    make(tmp_path, "a", "new")
    tidy(tmp_path)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "seg.bin").read_text() == "new"


def test_a_shard_tidies_its_own_cases(tmp_path: Path) -> None:
    mine, other = new_folder(tmp_path, "a"), new_folder(tmp_path, "a-b")
    tidy(tmp_path, {"a"})
    assert not mine.exists()
    assert other.exists()
