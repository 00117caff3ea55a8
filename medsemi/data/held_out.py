"""The one way to cases that are scored: none that was trained on; test cases with a reason, written down."""

from __future__ import annotations

import csv
import filecmp
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeGuard

from medsemi.atomic import write_atomically
from medsemi.data.checks import check_all_data
from medsemi.data.manifest import Case, Manifest
from medsemi.errors import ManifestError

LOOKS = "test_looks.csv"
TRAINED = "trained_cases.json"
_LEARNED = ("labeled", "unlabeled")
_HELD_OUT = ("validation", "test")
# Keys of a configuration that name weights which a training starts from.
ORIGINS = ("initial_weights", "second_weights")
_COLUMNS = ("utc", "manifest", "digest", "reason")


def keep_trained_cases(stage_dir: str | Path, case_ids: Mapping[str, Sequence[str]]) -> None:
    """Write down beside the weights of a training which cases it learns from.

    Args:
        stage_dir: run folder of the stage.
        case_ids: by role, `labeled` and `unlabeled`.
    """
    with write_atomically(Path(stage_dir) / TRAINED) as temporary:
        temporary.write_text(json.dumps(dict(case_ids), indent=1) + "\n", encoding="utf-8")


def training_of(folder: str | Path) -> Path:
    """The run folder of the training that left the weights in a folder; the folder itself if none is found.

    The bundle that a training leaves has its weights two folders below the run folder.

    Args:
        folder: where the weights lie.

    Returns:
        An absolute path.
    """
    here = Path(folder).resolve()
    near = (here, *here.parents[:2])
    return next((place for place in near if (place / TRAINED).is_file()), here)


def opened_cases(
    manifest: Manifest,
    role: str,
    reason: str | None,
    dataset_dir: str | Path,
    output_dir: str | Path,
    weights_dir: str | Path | None = None,
) -> tuple[Case, ...]:
    """The cases of a role, for scoring; each look at the test list is recorded before it is taken.

    Args:
        manifest: the split.
        role: one of its roles; all but `test` need no reason and leave no record.
        reason: why the test list is opened, in words.
        dataset_dir: the folder that the manifest's paths start from.
        output_dir: of the training; one line is added to its `test_looks.csv`, by the first rank.
        weights_dir: the run folder whose networks are scored, wherever it lies.

    Returns:
        The cases; those of the test list are no longer sealed.

    Raises:
        ManifestError: a training of this folder, the one that is scored or one that it started from
            learned from one of the cases, the test list is
            asked for without a reason or does not pass `check_all_data` (such as for an image that
            was trained on), or the role is unknown.
    """
    if role not in _LEARNED:
        _refuse_trained(manifest, role, Path(dataset_dir), Path(output_dir), weights_dir)
    if role != "test":
        return manifest.cases(role)
    if reason is None or not reason.strip():
        raise ManifestError(
            "the test list is opened only with a reason, which is kept: add --reason 'final table',"
            " or score --role validation."
        )
    check_all_data(manifest, dataset_dir, Path(output_dir) / "cache")
    if os.environ.get("RANK", "0") == "0":
        _record(Path(output_dir) / LOOKS, manifest, reason)
    return tuple(replace(case, is_sealed=False) for case in manifest.test)


def refuse_held_out_in_origin(
    weights: Iterable[str | Path], manifest: Manifest, dataset_dir: str | Path
) -> None:
    """Refuse to start a training from weights that learned from a case which it holds out.

    Its checkpoints are chosen by the validation, which would then be of a case that was trained on.

    Args:
        weights: files that the training starts from; those that no training left a record beside
            are taken.
        manifest: of the training.
        dataset_dir: the folder that the manifest's paths start from.

    Raises:
        ManifestError: the training that left the weights, or one that it started from, learned from
            a validation or test case.
    """
    for folder in _with_origins([training_of(Path(path).parent) for path in weights]):
        for role in _HELD_OUT:
            for case, as_role in _learned(folder, manifest.cases(role)):
                if _has_image(folder, Path(dataset_dir), case):
                    raise ManifestError(
                        f"the {role} case {case.case_id!r} of {manifest.name}"
                        f" {_as_told(folder, as_role)}; this one starts from its weights: give the"
                        " manifest of that training, or pre-train with this one in another output_dir."
                    )


def _refuse_trained(
    manifest: Manifest,
    role: str,
    dataset_dir: Path,
    output_dir: Path,
    weights_dir: str | Path | None,
) -> None:
    stages = sorted(path.parent.resolve() for path in output_dir.glob(f"*/{TRAINED}"))
    scored = [] if weights_dir is None else _with_stages_beside(training_of(weights_dir))
    for folder in _with_origins([*stages, *scored]):
        for case, as_role in _learned(folder, manifest.cases(role)):
            # Another data set may have names in common.
            if folder in stages or _has_image(folder, dataset_dir, case):
                raise ManifestError(
                    f"the {role} case {case.case_id!r} of {manifest.name}"
                    f" {_as_told(folder, as_role)}; give the manifest of that training, or to another data"
                    " set another output_dir."
                )


def _learned(folder: Path, cases: Sequence[Case]) -> Iterator[tuple[Case, str]]:
    """Cases whose names a training learned from, each with its role there."""
    learned = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    for case in cases:
        as_role = next((name for name in _LEARNED if case.case_id in learned[name]), None)
        if as_role is not None:
            yield case, as_role


def _with_stages_beside(stage: Path) -> list[Path]:
    """A training starts from a stage of its own output folder unless its configuration names another."""
    return [stage, *(path.parent for path in sorted(stage.parent.glob(f"*/{TRAINED}")))]


def _with_origins(folders: Sequence[Path]) -> list[Path]:
    """These run folders, and those that they took their first weights from, directly or not."""
    waiting, found = list(folders), list[Path]()
    while waiting:
        folder = waiting.pop(0).resolve()
        if folder not in found and (folder / TRAINED).is_file():
            found.append(folder)
            given = (_configured(folder).get(name) for name in ORIGINS)
            waiting += [training_of(Path(path).parent) for path in given if _is_path(path)]
    return found


def _has_image(folder: Path, dataset_dir: Path, case: Case) -> bool:
    """Whether the data of a training hold the image of a case, or are not there to tell."""
    before = _data_of(folder)
    if before is None:
        return True
    image, other = dataset_dir / case.image, before / case.image
    return image.is_file() and other.is_file() and filecmp.cmp(image, other, shallow=False)


def _as_told(folder: Path, as_role: str) -> str:
    """The role of a case in a training, and how sure that is."""
    if _data_of(folder) is not None:
        return f"was {as_role} in the training {folder}"
    return (
        f"was {as_role}, or another one of its name was, in the training {folder}, whose data are not"
        " there to tell"
    )


def _data_of(folder: Path) -> Path | None:
    """Where the data of a training lie; None where they are not there, or no longer."""
    before = _configured(folder).get("dataset_dir")
    return Path(before) if _is_path(before) and Path(before).is_dir() else None


def _configured(folder: Path) -> dict[str, Any]:
    record = folder / "config.json"
    return dict(json.loads(record.read_text(encoding="utf-8"))) if record.is_file() else {}


def _is_path(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not value.startswith(("$", "@", "%"))


def _record(path: Path, manifest: Manifest, reason: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(_COLUMNS)
        writer.writerow((now, manifest.name, manifest.digest, " ".join(reason.split())))
