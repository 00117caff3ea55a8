"""What an earlier training left is set aside: whole, in one place, and nothing of it is lost."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.data.held_out import keep_trained_cases, training_of
from medsemi.training.earlier import set_results_aside

SMALL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_training.py"))))
trainer = SMALL.trainer

LEFT = (
    "model.pt",
    "student.pt",
    "average.pt",
    "best.pt",
    "best.txt",
    "snapshot_1.pt",
    "bundle/models/model.pt",
    "overlays/a_step_000900.png",
    "validation/step_000900/cases.csv",
    "trained_cases.json",
    "config.json",
    "history.csv",
    "run.json",
    "upload.json",
)
KEPT = ("notes_of_a_person.txt",)


def leave(folder: Path, text: str) -> None:
    """What a finished training leaves, with a content that tells which."""
    for name in (*LEFT, *KEPT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_training_from_the_start_that_is_killed_looks_like_no_finished_one(
    tmp_path: Path, stop_at: Callable[[int], object]
) -> None:
    leave(tmp_path, "old")
    with pytest.raises(OSError, match="no space left"):
        trainer(tmp_path, handlers=[stop_at(3)]).run()
    written = ("trained_cases.json",)
    assert not [name for name in LEFT if name not in written and (tmp_path / name).exists()]
    assert (tmp_path / "trained_cases.json").read_text() != "old"
    assert all((tmp_path / name).read_text() == "old" for name in KEPT)
    assert contents(tmp_path / "earlier") == dict.fromkeys(LEFT, "old")
    trainer(tmp_path).run()
    assert (tmp_path / "model.pt").exists()
    assert contents(tmp_path / "earlier") == dict.fromkeys(LEFT, "old")


def test_what_was_set_aside_before_moves_on(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        leave(tmp_path, text)
        set_results_aside(tmp_path)
    before = "earlier"
    for text in ("third", "second", "first"):
        for name in LEFT:
            assert (tmp_path / before / name).read_text() == text
        before += "/earlier"
    assert not (tmp_path / before).exists()


def test_weights_that_were_set_aside_still_tell_what_they_learned_from(tmp_path: Path) -> None:
    for case in ("before", "now"):
        keep_trained_cases(tmp_path, {"labeled": [case], "unlabeled": []})
        if case == "before":
            (tmp_path / "bundle/models").mkdir(parents=True)
            set_results_aside(tmp_path)
    for folder in ("earlier", "earlier/bundle/models"):
        told = training_of(tmp_path / folder) / "trained_cases.json"
        assert json.loads(told.read_text())["labeled"] == ["before"]


def test_a_training_that_was_killed_before_its_first_weights_goes_on_with_its_records(
    tmp_path: Path,
) -> None:
    for name in ("run.json", "history.csv", "overlays/a_step_000001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("own")
    set_results_aside(tmp_path)
    assert contents(tmp_path) == {
        "run.json": "own", "history.csv": "own", "earlier/overlays/a_step_000001.png": "own",
    }  # fmt: skip


def test_without_results_nothing_is_made(tmp_path: Path) -> None:
    set_results_aside(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("moves", range(1, 15))
def test_a_kill_in_between_mixes_no_two_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    leave(tmp_path, "first")
    set_results_aside(tmp_path)
    leave(tmp_path, "second")
    original, left = Path.replace, [moves]

    def replace(path: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            set_results_aside(tmp_path)
    # What tells others that a training is finished goes first.
    assert not (tmp_path / "bundle").exists()
    set_results_aside(tmp_path)
    assert all((tmp_path / "earlier" / name).read_text() == "second" for name in LEFT)
    assert all((tmp_path / "earlier" / "earlier" / name).read_text() == "first" for name in LEFT)
