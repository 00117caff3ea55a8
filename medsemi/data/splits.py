"""Find the cases of a folder and deal whole patients to the subsets of a manifest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsemi.data.manifest import ROLES
from medsemi.data.reading import SUFFIXES
from medsemi.errors import ManifestError

_PLACEHOLDER = "{case}"


@dataclass(frozen=True)
class FoundCase:
    """An image of a folder and, where there is one, its label; paths relative to the folder."""

    case_id: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class SplitCounts:
    """How many patients (not volumes) go where; all others are unlabeled."""

    labeled: int
    validation: int = 0
    test: int = 0


def split_patients(
    with_labels: Iterable[str], without_labels: Iterable[str], counts: SplitCounts, seed: int
) -> dict[str, str]:
    """Deal patients to roles, a pure function of the names, the counts and the seed.

    Each patient has a fixed place in a line that depends on the seed and its own name alone. Test
    patients are taken from the front, then validation, then labeled; the rest is unlabeled. So
    the order of the input does not matter, more labels only turn unlabeled patients into labeled
    ones, and a new patient moves at most one other at each boundary.

    Args:
        with_labels: patients all of whose volumes have labels.
        without_labels: the other patients; they can only be unlabeled.
        counts: number of patients for each role.
        seed: of the split.

    Returns:
        The role of each patient.

    Raises:
        ManifestError: a count is negative, or there are not enough patients with labels.
    """
    eligible, others = set(with_labels), set(without_labels)
    numbers = (counts.test, counts.validation, counts.labeled)
    if min(counts.validation, counts.test) < 0:
        raise ManifestError(
            f"{counts.validation} patients are for validation and {counts.test} for test; give 0 or"
            " more of each."
        )
    if counts.labeled < 1:
        raise ManifestError(
            f"of {len(eligible)} patients with labels {counts.validation} are for validation and"
            f" {counts.test} for test: that leaves none to train on; ask for fewer, and for 1 labeled or more."
        )
    if sum(numbers) > len(eligible - others):
        raise ManifestError(
            f"{sum(numbers)} patients with labels are asked for but there are"
            f" {len(eligible - others)}; lower a count."
        )
    line = sorted(eligible - others, key=lambda patient: _place(patient, seed))
    dealt = ["test"] * counts.test + ["validation"] * counts.validation
    dealt += ["labeled"] * counts.labeled
    dealt += ["unlabeled"] * (len(line) - len(dealt))
    return dict(zip(line, dealt, strict=True)) | dict.fromkeys(others, "unlabeled")


def _place(patient: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{patient}".encode()).hexdigest()


def find_cases(
    folder: Path, images: str = "images/{case}", labels: str = "labels/{case}"
) -> tuple[FoundCase, ...]:
    """List the images of a folder with their labels, sorted by case id.

    Args:
        folder: the dataset folder.
        images: where an image is, relative to the folder; `{case}` stands for its id. Without a
            suffix, all kinds that can be read are found.
        labels: likewise for labels, found by the ids of the images.

    Suffixes are found in capitals, too. A file that matches both patterns belongs to the one that
    says more of its name: with `{case}` and `{case}_seg`, `a_seg` is the label of `a` and no image.

    Returns:
        The cases; a case without a label file has `label` None.

    Raises:
        ManifestError: nothing is found, one case has two files, a label has no image, a file may be
            both, or a name is not UTF-8.
    """
    found, found_labels = _find(folder, images), _find(folder, labels)
    _tell_apart(folder, found, found_labels, (images, labels))
    if not found:
        raise ManifestError(f"{folder}: no image matches {images!r}; correct the pattern.")
    orphans = sorted(set(found_labels) - set(found))
    if orphans:
        raise ManifestError(
            f"{folder / found_labels[orphans[0]]}: this label has no image that matches {images!r}"
            f" ({len(orphans)} in all); correct the patterns or remove it."
        )
    return tuple(FoundCase(key, found[key], found_labels.get(key)) for key in sorted(found))


def _tell_apart(
    folder: Path, images: dict[str, Path], labels: dict[str, Path], patterns: tuple[str, str]
) -> None:
    """Take each file that was found twice out of one of the two."""
    label_ids = {path: case_id for case_id, path in labels.items()}
    for image_id, path in list(images.items()):
        label_id = label_ids.get(path)
        if label_id is None:
            continue
        if len(image_id) == len(label_id):
            raise ManifestError(
                f"{folder / path}: this file matches {patterns[0]!r} for images as well as"
                f" {patterns[1]!r} for labels; give patterns that tell them apart."
            )
        # What {case} stands for is shorter where the pattern says more of the name.
        if len(label_id) < len(image_id):
            del images[image_id]
        else:
            del labels[label_id]


def _find(folder: Path, pattern: str) -> dict[str, Path]:
    if _PLACEHOLDER not in pattern:
        raise ManifestError(f"the pattern {pattern!r} must hold {_PLACEHOLDER}.")
    suffixes = [end for end in SUFFIXES if pattern.lower().endswith(end)]
    stem = pattern[: -len(suffixes[0])] if suffixes else pattern
    first, *rest = (re.escape(part) for part in stem.split(_PLACEHOLDER))
    expression = "(?P=case)".join([f"{first}(?P<case>[^/]+){rest[0]}", *rest[1:]])
    ends = "|".join(map(re.escape, suffixes or SUFFIXES))
    matcher = re.compile(f"{expression}(?i:{ends})")
    found: dict[str, Path] = {}
    # Two stars would be folders at any depth.
    for path in sorted(folder.glob(f"{stem.replace(_PLACEHOLDER, '*').removesuffix('*')}*")):
        relative = path.relative_to(folder)
        match = matcher.fullmatch(relative.as_posix())
        if match is None or path.name.startswith(".") or not path.is_file():
            continue
        _refuse_other_text(relative)
        if match["case"] in found:
            raise ManifestError(
                f"{path}: the case {match['case']!r} has a second file"
                f" {folder / found[match['case']]}; keep one."
            )
        found[match["case"]] = relative
    return found


def _refuse_other_text(path: Path) -> None:
    """A manifest is UTF-8; bytes of another encoding, as old archives hold, cannot be written."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ManifestError(f"{shown}: this name is not UTF-8; rename the file.") from error


def patients_by_expression(case_ids: Iterable[str], expression: str) -> dict[str, str]:
    """The patient of each case: the first group of a regular expression, else all it matches.

    Args:
        case_ids: ids of the cases.
        expression: searched from the beginning of each id.

    Returns:
        The patient of each case id.

    Raises:
        ManifestError: the expression is none, or does not match an id.
    """
    try:
        matcher = re.compile(expression)
    except re.error as error:
        raise ManifestError(f"{expression!r} is no regular expression ({error}).") from error
    patients = {}
    for case_id in case_ids:
        match = matcher.match(case_id)
        patient = match and match[1 if matcher.groups else 0]
        if not patient:
            raise ManifestError(
                f"the case {case_id!r} does not match the patient expression {expression!r};"
                " every case must belong to a patient."
            )
        patients[case_id] = patient
    return patients


def patients_by_prefix(case_ids: Iterable[str], separator: str) -> dict[str, str]:
    """The patient of each case: what stands before the first separator.

    Raises:
        ManifestError: an id has no separator, or nothing before it.
    """
    return patients_by_expression(case_ids, f"(.+?){re.escape(separator)}")


def patients_by_case(case_ids: Sequence[str], is_certain: bool) -> dict[str, str]:
    """Each case is a patient of its own, unless the names suggest otherwise.

    Args:
        case_ids: ids of the cases.
        is_certain: the user said so; then names are not looked at.

    Returns:
        The patient of each case id, which is the id.

    Raises:
        ManifestError: some ids differ only after their last separator, as the scans of one
            patient often do, and the user has not said that each is a patient.
    """
    if not is_certain:
        stems: dict[str, str] = {}
        for case_id in case_ids:
            stem = re.sub(r"[_.\-][^_.\-]*$", "", case_id)
            other = stems.setdefault(stem, case_id)
            if other != case_id:
                raise ManifestError(
                    f"the cases {other!r} and {case_id!r} may be of one patient; say how to tell"
                    " (--patient-regex or --patient-prefix) or give --one-case-per-patient."
                )
    return {case_id: case_id for case_id in case_ids}


def split_cases(
    cases: Sequence[FoundCase], patients: dict[str, str], counts: SplitCounts, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Deal the cases of a folder to the roles of a manifest, all of a patient to one.

    Args:
        cases: as found in the folder.
        patients: patient of each case id.
        counts: number of patients for each role.
        seed: of the split.

    Returns:
        For each role the entries of its list, in the order of the cases.

    Raises:
        ManifestError: as `split_patients`.
    """
    incomplete = {patients[case.case_id] for case in cases if case.label is None}
    complete = {patients[case.case_id] for case in cases} - incomplete
    roles = split_patients(complete, incomplete, counts, seed)
    entries: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
    for case in cases:
        patient = patients[case.case_id]
        role = roles[patient]
        entry = {"case": case.case_id, "patient": patient, "image": case.image.as_posix()}
        if case.label is not None and role != "unlabeled":
            entry["label"] = case.label.as_posix()
        entries[role].append(entry)
    return entries
