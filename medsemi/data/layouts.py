"""Dataset folders as others lay them out, taken as they are: nothing is copied or renamed.

nnU-Net: `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, `dataset.json` with {"name": value}.
Medical Segmentation Decathlon (MSD): `imagesTr/CASE.nii.gz`, `labelsTr/CASE.nii.gz`, `dataset.json`
with {"value": "name"}. Otherwise `images/CASE.nii.gz` and `labels/CASE.nii.gz`.
Sources: nnU-Net documentation/dataset_format.md (v2); medicaldecathlon.com.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsemi.data.reading import volume_stem
from medsemi.data.splits import FoundCase, find_cases
from medsemi.errors import ManifestError

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Layout:
    """What a dataset folder holds.

    Attributes:
        cases: images with their labels; an image without a label file has none.
        classes: names of the values 1, 2, ...: those given, else those of `dataset.json`; None
            without either.
        held_out: images of `imagesTs`, with their labels of `labelsTs`, where they are asked for.
        left_out: number of images in `imagesTs` where they are not.
        modality: `CT` or `MR` as `dataset.json` says, None where it says neither.
    """

    cases: tuple[FoundCase, ...]
    classes: tuple[str, ...] | None
    held_out: tuple[FoundCase, ...] = ()
    left_out: int = 0
    modality: str | None = None


def find_layout(
    folder: Path, classes: Sequence[str] | None = None, with_held_out: bool = False
) -> Layout:
    """Recognize the layout of a folder and list its cases.

    Args:
        folder: the dataset folder.
        classes: names of the values 1, 2, ...; `dataset.json` is then not read.
        with_held_out: list the images of `imagesTs`, too; else they are only counted.

    Returns:
        Its cases, sorted by id.

    Raises:
        ManifestError: the folder is empty or of another layout, a case has several channels, a
            label has no image, or `dataset.json` is not understood.
    """
    layout = _layout(folder, named_classes(folder, classes), with_held_out)
    return replace(layout, modality=read_modality(folder / "dataset.json"))


def _layout(folder: Path, classes: tuple[str, ...] | None, with_held_out: bool) -> Layout:
    if (folder / "imagesTr").is_dir():
        # Decided once: without labelsTs, the names of imagesTs alone cannot tell.
        has_channels = _has_channels(_names(folder / "imagesTr"), _names(folder / "labelsTr"))
        cases, tests = _find(folder, "Tr", has_channels), _names(folder / "imagesTs")
        if not (with_held_out and tests):
            return Layout(cases, classes, left_out=len(tests))
        held_out = _find(folder, "Ts", has_channels)
        return Layout(cases, classes, held_out)
    if not (folder / "images").is_dir():
        raise ManifestError(
            f"{folder}: holds neither images/ nor imagesTr/ with volumes; put images there (labels in"
            " labels/ or labelsTr/) or say where they are with --images and --labels."
        )
    return Layout(find_cases(folder), classes)


def named_classes(folder: Path, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of the label values 1, 2, ... of a dataset folder.

    Args:
        folder: the dataset folder.
        given: names that overrule its `dataset.json`, which is then not read.

    Raises:
        ManifestError: as `read_classes`.
    """
    return tuple(given) if given else read_classes(folder / "dataset.json")


def read_classes(path: Path) -> tuple[str, ...] | None:
    """Names of the label values 1, 2, ... in a `dataset.json`; None if there is no such file.

    Raises:
        ManifestError: the file cannot be read, or its labels are regions, have gaps or an `ignore`.
    """
    if not path.is_file():
        return None
    try:
        labels = json.loads(path.read_text(encoding="utf-8-sig"))["labels"]
        names = _by_value(labels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path}: 'labels' is not a list of names with one whole number each (regions are not"
            " supported); correct it or give the names with --classes."
        ) from error
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise ManifestError(
            f"{path}: 'labels' has the values {sorted(names)}; they must be 0, 1, 2, ... without"
            " gaps."
        )
    if "ignore" in (name.lower() for name in names.values()):
        raise ManifestError(f"{path}: the label 'ignore' is not supported; leave those voxels out.")
    return tuple(names[value] for value in sorted(names) if value)


def read_modality(path: Path) -> str | None:
    """What a `dataset.json` says of its first channel: `CT`, `MR`, or None for all else.

    nnU-Net writes `channel_names` (before v2 `modality`), MSD `modality`, both {"0": name}.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
        name = document.get("channel_names", document.get("modality"))["0"].upper()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is no word that a plan needs
    return "CT" if name == "CT" else "MR" if name.startswith("MR") else None


def _by_value(labels: dict[str, Any]) -> dict[int, str]:
    """MSD maps values to names, nnU-Net names to values."""
    if all(str(key).isdigit() for key in labels):
        return {int(key): str(name) for key, name in labels.items()}
    return {int(value): str(name) for name, value in labels.items()}


def _find(folder: Path, part: str, has_channels: bool) -> tuple[FoundCase, ...]:
    suffix = "_0000" if has_channels else ""
    if has_channels:
        _refuse_channels(folder / f"images{part}", _names(folder / f"images{part}"))
    return find_cases(folder, f"images{part}/{{case}}{suffix}", f"labels{part}/{{case}}")


def _names(folder: Path) -> set[str]:
    """Names of the volumes of a folder, without their suffix."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {stem for file in files if (stem := volume_stem(file.name)) is not None}


def _has_channels(images: set[str], labels: set[str]) -> bool:
    """Whether all names end in a number of a channel, which no label has."""
    return bool(images) and not images & labels and all(map(_CHANNEL.fullmatch, images))


def _refuse_channels(folder: Path, images: set[str]) -> None:
    matches = [match for name in sorted(images) if (match := _CHANNEL.fullmatch(name))]
    for match in matches:
        if match["channel"] != "0000":
            several = sum(other["case"] == match["case"] for other in matches)
            raise ManifestError(
                f"{folder}: the case {match['case']!r} has {several} channels ({match[0]}); medsemi"
                " takes one channel: leave only the files that end in _0000."
            )
