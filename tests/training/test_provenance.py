"""One training has one identity, and only an own checkout is a revision."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import medsemi
from medsemi.training.provenance import (
    PARENT_VARIABLE,
    flattened,
    parent_tags,
    provenance_tags,
    training_id,
)


def test_the_stages_of_a_training_share_its_identity(tmp_path: Path) -> None:
    first = training_id(tmp_path)
    assert len(bytes.fromhex(first)) == 16
    assert training_id(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]
    (tmp_path / "other").mkdir()
    assert training_id(tmp_path / "other") != first


def test_of_two_processes_the_first_one_names_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(own: Path, path: Path) -> None:
        path.write_text(json.dumps({"training": "0" * 32}))
        raise FileExistsError

    monkeypatch.setattr(os, "link", lose)
    assert training_id(tmp_path) == "0" * 32
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


def test_a_disk_without_links_keeps_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links")

    monkeypatch.setattr(os, "link", refuse)
    assert training_id(tmp_path) == training_id(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


def test_the_environment_names_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    assert parent_tags() == {}
    monkeypatch.setenv(PARENT_VARIABLE, "p")
    assert parent_tags() == {"mlflow.parentRunId": "p"}


def git(folder: Path, *arguments: str) -> str:
    author = "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"
    command = ["git", "-C", str(folder), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_only_an_own_checkout_is_a_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package below somebody else's checkout is not of that revision."""
    module = tmp_path / "lib" / "medsemi" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(medsemi, "__file__", str(module))
    assert "medsemi.revision" not in provenance_tags()
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    assert not {"medsemi.revision", "medsemi.revision_changed"} & provenance_tags().keys()
    git(tmp_path, "add", "lib")
    git(tmp_path, "commit", "-q", "-m", "ours")
    tags = provenance_tags()
    assert tags["medsemi.revision"] == git(tmp_path, "rev-parse", "HEAD")
    assert tags["mlflow.source.git.commit"] == tags["medsemi.revision"]
    assert tags["medsemi.revision_changed"] == "false"
    module.write_text("changed = True\n")
    assert provenance_tags()["medsemi.revision_changed"] == "true"


def test_nested_parameters_become_one_level_of_text() -> None:
    nested = {"a": {"b": [1], 2: {"c": None}}, "d": (1, "x"), "e": {}}
    assert flattened(nested) == {"a.b": "[1]", "a.2.c": "None", "d": '[1, "x"]'}
