"""What a data set is like: sizes, spacings, intensities of structures and their volumes.

Read are the images and labels of labeled cases and the headers of unlabeled ones; no case of the
lists `validation` and `test` is opened, so that nothing is planned on what is scored.

Source: nnU-Net (Isensee et al., Nature Methods 2021), `dataset_fingerprint/fingerprint_extractor.py`:
intensities are those of foreground voxels, the same number from every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medsemi.data.headers import (
    read_unambiguous,
    refuse_ambiguous_header,
    refuse_channels,
    refuse_other_grid,
    refuse_other_kinds,
)
from medsemi.data.label_values import distinct_values, near_whole, refuse_other_values
from medsemi.data.manifest import Case, Manifest
from medsemi.data.reading import is_finite, refuse_not_finite
from medsemi.errors import DataError

SAMPLES = 10_000  # foreground voxels of a case that percentiles are taken from
LEAST_RANGE = 1.0  # HU between the percentiles of structures, below which they say nothing
LOWEST_OUTSIDE_CT = -200.0  # air in CT is near -1000 HU; no MR image is that far below zero


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """One case on axes in the order right, anterior, superior.

    Attributes:
        case_id: of the manifest.
        shape: in voxels.
        spacing: edge lengths of a voxel, in mm.
        is_labeled: whether it has a label, which is resampled as well.
    """

    case_id: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    is_labeled: bool = False


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a plan is made of.

    Attributes:
        cases: labeled and unlabeled ones.
        classes: name of each label value.
        percentiles: 0.5, 50 and 99.5 of intensities in the foreground.
        least: of the first percentiles of the intensities of labeled cases.
        volumes: mean volume of each structure in the labeled cases, in mm3.
        whole: percentiles 0.5 and 99.5 of intensities in the whole images of labeled cases.
        given_modality: `CT` or `MR` where somebody says so; None lets the values tell.
        given_by: who says so, for the reader.
    """

    cases: tuple[CaseFacts, ...]
    classes: dict[int, str]
    percentiles: tuple[float, float, float]
    least: float
    volumes: dict[str, float]
    whole: tuple[float, float] = (0.0, 0.0)
    given_modality: str | None = None
    given_by: str = ""

    @property
    def modality(self) -> str:
        """What is given, else `CT` where values lie as far below zero as air does, else `MR`."""
        return self.given_modality or ("CT" if self.least < LOWEST_OUTSIDE_CT else "MR")

    @property
    def reason(self) -> str:
        """Why the images are taken for this modality."""
        if self.given_modality:
            return self.given_by
        if self.modality == "CT":
            return f"values down to {self.least:.4g}, as far below zero as air"
        return f"values from {self.least:.4g}, where CT has air; else give --modality CT"

    @property
    def is_saturated(self) -> bool:
        """Whether structures of CT have one value, such as metal at the end of the scale."""
        return self.modality == "CT" and self.percentiles[2] - self.percentiles[0] < LEAST_RANGE

    @property
    def median_spacing(self) -> tuple[float, ...]:
        """Median over cases along each axis, in mm."""
        return _medians([case.spacing for case in self.cases])

    @property
    def median_shape(self) -> tuple[float, ...]:
        """Median over cases along each axis, in voxels."""
        return _medians([[float(n) for n in case.shape] for case in self.cases])


def take_fingerprint(
    manifest: Manifest, dataset_dir: Path, modality: str | None = None
) -> Fingerprint:
    """Measure the cases that a training sees.

    Args:
        manifest: its lists `labeled` and `unlabeled` are read.
        dataset_dir: where its paths start.
        modality: `CT` or `MR`; None takes the word of the manifest, or else of the values.

    Raises:
        DataError: if a file cannot be read, or is one that training takes otherwise, image and label differ in shape or affine, a label has values
            outside the classes, or no labeled case has a structure.
    """
    facts, samples, voxels, least = [], [], np.zeros(len(manifest.classes)), np.inf
    generator, everywhere, whole = np.random.default_rng(0), np.random.default_rng(0), []
    for case in manifest.labeled:
        values, label, fact = _labeled(case, dataset_dir, manifest.classes)
        facts.append(fact)
        # Some darkest voxels may be an error of interpolation.
        least = min(least, float(np.percentile(values, 1)))
        counts = np.bincount(label.ravel(), minlength=len(voxels))
        voxels += counts * np.prod(fact.spacing)
        whole.append(everywhere.choice(values.ravel(), SAMPLES))
        inside = values[label > 0]
        if len(inside):
            samples.append(generator.choice(inside, SAMPLES))
    if not samples:
        msg = f"No labeled case of {manifest.name} has a voxel above 0: check the labels."
        raise DataError(msg)
    facts += [_header(case, dataset_dir) for case in manifest.unlabeled]
    drawn = np.concatenate(samples).astype(np.float64)
    low, middle, high = np.percentile(drawn, (0.5, 50, 99.5)).tolist()
    darkest, brightest = np.percentile(np.concatenate(whole).astype(float), (0.5, 99.5)).tolist()
    means = voxels / len(manifest.labeled)
    return Fingerprint(
        cases=tuple(facts),
        classes=manifest.classes,
        percentiles=(low, middle, high),
        least=least,
        volumes={name: float(means[n]) for n, name in manifest.classes.items() if n},
        whole=(darkest, brightest),
        given_modality=modality or manifest.modality or None,
        given_by="as given by --modality" if modality else "as the manifest says",
    )


def _labeled(
    case: Case, folder: Path, classes: dict[int, str]
) -> tuple[NDArray[Any], NDArray[np.int64], CaseFacts]:
    assert case.label is not None
    values, affine = read_unambiguous(folder / case.image)
    label, label_affine = read_unambiguous(folder / case.label)
    refuse_channels(values.shape, folder / case.image)
    grids = (values.shape, affine), (label.shape, label_affine)
    refuse_other_grid(*grids, folder / case.image, folder / case.label)
    refuse_not_finite(is_finite(values), folder / case.image)
    refuse_other_values(distinct_values(label), classes, folder / case.label)
    facts = replace(_facts(case.case_id, values.shape, affine), is_labeled=True)
    return values, near_whole(label).astype(np.int64), facts


def _header(case: Case, folder: Path) -> CaseFacts:
    path = folder / case.image
    refuse_other_kinds(path)
    try:
        image: Any = nibabel.load(path)
    except Exception as error:  # nibabel's own errors share no class but this one
        raise DataError(f"{path}: cannot be read as a volume ({error}); replace it.") from error
    refuse_ambiguous_header(path)
    refuse_channels(image.shape, path)
    return _facts(case.case_id, image.shape[:3], image.affine)


def _facts(case_id: str, shape: Sequence[int], affine: NDArray[np.float64]) -> CaseFacts:
    if len(shape) < 3:
        raise DataError(f"{case_id}: shape {tuple(shape)} is no volume; take the case out.")
    axes: Any = nibabel.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    order = np.argsort(axes[:, 0])  # the axis of the file that becomes each axis of RAS
    return CaseFacts(
        case_id,
        tuple(int(shape[axis]) for axis in order),
        tuple(float(spacing[axis]) for axis in order),
    )


def _medians(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.median(np.array(rows), axis=0))
