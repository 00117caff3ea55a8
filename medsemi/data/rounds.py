"""The data of the next round of self-training: true labels, and the pseudo-labels that are kept.

A round is a data set of its own: a folder with links to what its manifest lists, and a manifest in
which cases with a kept pseudo-label have become labeled. Test cases are in neither, so that
nothing that trains on them can open one.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from medsemi.atomic import whole_files
from medsemi.data.manifest import Case, Manifest, save_manifest
from medsemi.errors import DataError

LABELS = "pseudo_labels"
# Keys of a manifest that hold for each round of it, too.
_KEPT_KEYS = ("source", "terms", "protocol", "modality")
# Folders of a labeling: what is known of each label, and the label.
RECORDS, MADE = "records", "labels"


@dataclass(frozen=True)
class PseudoLabel:
    """Where a label that a network made comes from.

    Attributes:
        case_id: whose it is.
        file: name of the label file.
        stability: mean agreement of the other networks with the one that made it, 0..1.
        agreement: Dice over all foreground voxels with each of them.
        foreground: voxels of the label that are not background, on the grid of the network.
        origin: digests of weights, preparation and image, how windows are laid, date, versions.
    """

    case_id: str
    file: str
    stability: float
    agreement: Mapping[str, float]
    foreground: int
    origin: Mapping[str, str]


def read_pseudo_labels(folder: str | Path) -> list[PseudoLabel]:
    """Read `<folder>/records/<case>.json` by the name of the case, where `<folder>/labels` has its file."""
    paths = whole_files(Path(folder) / RECORDS, "*.json")
    read = [PseudoLabel(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return [label for label in read if (Path(folder) / MADE / label.file).is_file()]


def keep_stable(
    labels: Sequence[PseudoLabel], share: float, patients: Mapping[str, str]
) -> list[PseudoLabel]:
    """Return the labels of the most stable patients, the most stable first; ties go by name.

    A patient is kept or left as a whole, by the mean stability of its cases: a manifest has each patient
    in one role.

    Args:
        labels: of all unlabeled cases.
        share: of the patients to keep, 0..1, rounded up; one with a label of stability 0 is never kept.
        patients: case -> patient.

    Source: Yang et al., ST++ (CVPR 2022), section 3.3, keeps one half of the images, then all.
    """
    groups: dict[str, list[PseudoLabel]] = {}
    for label in sorted(labels, key=lambda label: label.case_id):
        groups.setdefault(patients[label.case_id], []).append(label)
    ordered = sorted(groups, key=lambda name: (-mean(one.stability for one in groups[name]), name))
    kept = [groups[name] for name in ordered[: patients_kept(share, len(groups))]]
    return [label for group in kept if all(one.stability > 0 for one in group) for label in group]


def patients_kept(share: float, patients: int) -> int:
    """A share of so many, rounded up; the error of a product such as 0.14 * 50 is not."""
    return math.ceil(round(share * patients, 9))


def make_round(
    manifest: Manifest,
    dataset_dir: str | Path,
    kept: Sequence[PseudoLabel],
    labels_dir: str | Path,
    folder: str | Path,
    name: str,
) -> Manifest:
    """Write the data set of a round: `<folder>/dataset` and `<folder>/manifest.json`.

    Args:
        manifest: of the first round; its true labels stay.
        dataset_dir: where its paths start.
        kept: labels that become training labels, each of an unlabeled case.
        labels_dir: where their files lie.
        folder: of the round; what is there of an earlier attempt is replaced.
        name: of the new split.

    Returns:
        The new manifest.

    Raises:
        DataError: if a file is missing.
    """
    target, source = Path(folder) / "dataset", Path(dataset_dir).resolve()
    shutil.rmtree(target, ignore_errors=True)
    files = {label.case_id: label.file for label in kept}
    document: dict[str, Any] = {
        "name": name,
        "classes": {str(number): text for number, text in manifest.classes.items()},
        "description": f"{manifest.name}, with {len(files)} pseudo-labels.",
        **{key: getattr(manifest, key) for key in _KEPT_KEYS if getattr(manifest, key)},
        "labeled": [_entry(case) for case in manifest.labeled],
        "unlabeled": [_entry(c) for c in manifest.unlabeled if c.case_id not in files],
        "validation": [_entry(case) for case in manifest.validation],
    }
    for case in (*manifest.labeled, *manifest.unlabeled, *manifest.validation):
        for path in (case.image, case.label):
            if path is not None:
                _link(source / path, target / path)
    for case in manifest.unlabeled:
        if case.case_id in files:
            label = Path(LABELS) / files[case.case_id]
            _link(Path(labels_dir).resolve() / files[case.case_id], target / label)
            document["labeled"].append({**_entry(case), "label": label.as_posix()})
    return save_manifest(document, Path(folder) / "manifest.json")


def _entry(case: Case) -> dict[str, str]:
    entry = {"case": case.case_id, "patient": case.patient, "image": case.image.as_posix()}
    return entry if case.label is None else {**entry, "label": case.label.as_posix()}


def _link(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(f"{source} is missing: check dataset_dir and manifest.")
    if target.exists() and target.samefile(source):  # two cases may share a file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
