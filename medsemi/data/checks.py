"""Refuse data that cannot be trained on, before training starts and in one sentence."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.atomic import write_atomically
from medsemi.data.headers import (
    Grid,
    read_unambiguous,
    refuse_channels,
    refuse_other_grid,
)
from medsemi.data.label_values import distinct_values, refuse_other_values
from medsemi.data.leaks import Seen, files_agreement, refuse_copies
from medsemi.data.likeness import thumbnail
from medsemi.data.manifest import ROLES, Case, Manifest
from medsemi.data.reading import is_finite, refuse_not_finite
from medsemi.errors import DataError, ManifestError

_CACHE_NAME = "checked_volumes.json"
_CACHE_VERSION = 4
# Test files are opened by no training; see `check_all_data`.
_TRAINING_ROLES = ("labeled", "unlabeled", "validation")
# A label map has at most 256 values; more are not worth keeping to say that some are wrong.
_MOST_VALUES = 300


@dataclass(frozen=True)
class VolumeFacts:
    """What the checks need of one decoded volume.

    Attributes:
        shape: of the array, a fourth axis of length 1 removed.
        affine: 4 rows of 4, voxel to millimetres.
        finite: no NaN, no infinity and no huge fill value.
        digest: of shape and float32 voxels, the same for a copy in another file format or with
            another compression; empty for a label, and where voxels are not finite.
        values: the distinct values of a label, sorted; empty for an image.
        thumbnail: bytes of an image's thumbnail (see `likeness`), in base64; empty where the digest is.
    """

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    finite: bool
    digest: str = ""
    values: tuple[float, ...] = ()
    thumbnail: str = ""


def image_facts(path: Path) -> VolumeFacts:
    """Decode an image and describe it.

    Raises:
        DataError: the file cannot be read, or training would take it otherwise.
    """
    array, affine = read_unambiguous(path)
    facts = _facts(array, affine)
    if not facts.finite:
        return facts
    small = base64.b64encode(thumbnail(array).tobytes()).decode()
    return replace(facts, digest=_content_digest(array), thumbnail=small)


def label_facts(path: Path) -> VolumeFacts:
    """Decode a label map and describe it.

    Raises:
        DataError: the file cannot be read, or training would take it otherwise.
    """
    array, affine = read_unambiguous(path)
    values = distinct_values(array)[:_MOST_VALUES]
    return replace(_facts(array, affine), values=tuple(float(value) for value in values))


def check_training_data(
    manifest: Manifest, dataset_dir: str | Path, cache_dir: str | Path | None = None
) -> None:
    """Refuse a data set that training would stumble over or be misled by.

    Opened are images and labels of the labeled and validation cases and images of the unlabeled
    ones. No test file and no label of an unlabeled case is opened; they may be absent.

    Args:
        manifest: the validated split.
        dataset_dir: the folder that the manifest's paths start from.
        cache_dir: where to remember what was found, keyed by path, size and time of change of
            each file, so that the next start is fast; None remembers nothing.

    Raises:
        ManifestError: a file is missing, unreadable, or of a kind or with a header that training
            takes otherwise (see `headers`), image and label differ in shape or
            affine, an image has several channels, a label has values outside the classes, all
            labeled cases lack a class, a volume has NaN, infinity or huge fill values, or two
            subsets hold the same image, after changes to its file only where one of them is scored
            and it is certain (see `leaks`).
    """
    _check(manifest, _TRAINING_ROLES, Path(dataset_dir), cache_dir)


def check_all_data(
    manifest: Manifest, dataset_dir: str | Path, cache_dir: str | Path | None = None
) -> None:
    """The checks of `check_training_data` for all roles: for who makes a split, or opens its test.

    Args:
        manifest: the validated split.
        dataset_dir: the folder that the manifest's paths start from.
        cache_dir: as for `check_training_data`.

    Raises:
        ManifestError: as `check_training_data`, for test cases too.
    """
    _check(manifest, ROLES, Path(dataset_dir), cache_dir)


def _check(
    manifest: Manifest, roles: Sequence[str], folder: Path, cache_dir: str | Path | None
) -> None:
    cases = [(role, case) for role in roles for case in manifest.cases(role)]
    _refuse_missing(cases, folder)
    cache = _Cache(Path(cache_dir) / _CACHE_NAME if cache_dir is not None else None)
    try:
        _check_content(cases, manifest.classes, folder, cache)
    except DataError as error:
        raise ManifestError(str(error)) from error
    finally:
        cache.save()


def _label_of(role: str, case: Case) -> Path | None:
    return None if role == "unlabeled" else case.label


def _refuse_missing(cases: Sequence[tuple[str, Case]], folder: Path) -> None:
    missing = [
        (role, kind, folder / path)
        for role, case in cases
        for kind, path in (("image", case.image), ("label", _label_of(role, case)))
        if path is not None and not (folder / path).is_file()
    ]
    if missing:
        role, kind, path = missing[0]
        more = f" ({len(missing)} files are missing in all)" if len(missing) > 1 else ""
        raise ManifestError(
            f"{path}: this {kind} of a {role} case is missing{more};"
            " check dataset_dir or take the case out of the manifest."
        )


def _check_content(
    cases: Sequence[tuple[str, Case]], classes: dict[int, str], folder: Path, cache: _Cache
) -> None:
    digests: dict[str, tuple[str, Path]] = {}
    labeled: set[float] = set()
    images: list[Seen] = []
    for role, case in cases:
        path = folder / case.image
        image = cache.facts(path, "image")
        refuse_channels(image.shape, path)
        refuse_not_finite(image.finite, path)
        _refuse_repeated_content(digests, image, role, path)
        images.append(Seen(role, path, _thumbnail(image)))
        label_path = _label_of(role, case)
        if label_path is not None:
            label = cache.facts(folder / label_path, "label")
            refuse_not_finite(label.finite, folder / label_path)
            refuse_other_grid(_grid(image), _grid(label), path, folder / label_path)
            refuse_other_values(label.values, classes, folder / label_path)
            labeled.update(label.values if role == "labeled" else ())
    _refuse_unseen_classes(labeled, classes)
    refuse_copies(images, cache.agreement)


def _grid(facts: VolumeFacts) -> Grid:
    return facts.shape, np.asarray(facts.affine)


def _thumbnail(image: VolumeFacts) -> NDArray[np.uint8]:
    flat = np.frombuffer(base64.b64decode(image.thumbnail), np.uint8)
    return flat.reshape((round(len(flat) ** (1 / 3)),) * 3)


def _refuse_repeated_content(
    seen: dict[str, tuple[str, Path]], facts: VolumeFacts, role: str, path: Path
) -> None:
    first_role, first_path = seen.setdefault(facts.digest, (role, path))
    if first_role != role:
        raise ManifestError(
            f"{path}: this {role} image has the same content as the {first_role} image"
            f" {first_path}; keep it in one subset."
        )


def _refuse_unseen_classes(labeled: set[float], classes: dict[int, str]) -> None:
    for value, name in classes.items():
        if value and value not in labeled:
            raise ManifestError(
                f"no label of a labeled case has the value {value} of the class {name!r}; take it"
                " out of 'classes', or label a case that shows it."
            )


def _facts(array: NDArray[Any], affine: NDArray[np.float64]) -> VolumeFacts:
    rows = tuple(tuple(float(value) for value in row) for row in affine)
    return VolumeFacts(tuple(array.shape), rows, is_finite(array))


def _content_digest(array: NDArray[Any]) -> str:
    # Adding zero makes -0.0 and 0.0 one; Fortran order is how NIfTI and ITK keep the voxels.
    voxels = np.asfortranarray(array, dtype=np.float32) + np.float32(0)
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=20)
    digest.update(np.ascontiguousarray(voxels.T))
    return digest.hexdigest()


class _Cache:
    """Facts of files that have not changed since they were last decoded, and of pairs of them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known, self._pairs = ({}, {}) if path is None else _load_cache(path)
        self._changed = False

    def facts(self, path: Path, kind: str) -> VolumeFacts:
        key = f"{kind}|{_file_key(path)}"
        if key not in self._known:
            self._known[key] = image_facts(path) if kind == "image" else label_facts(path)
            self._changed = True
        return self._known[key]

    def agreement(self, first: Path, second: Path) -> float:
        key = f"{_file_key(first)}|{_file_key(second)}"
        if key not in self._pairs:
            self._pairs[key] = files_agreement(first, second)
            self._changed = True
        return self._pairs[key]

    def save(self) -> None:
        if self._path is None or not self._changed:
            return
        content = {key: asdict(facts) for key, facts in self._known.items()}
        with write_atomically(self._path) as temporary:
            record = {"version": _CACHE_VERSION, "facts": content, "pairs": self._pairs}
            temporary.write_text(json.dumps(record))


def _file_key(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def _load_cache(path: Path) -> tuple[dict[str, VolumeFacts], dict[str, float]]:
    try:
        document = json.loads(path.read_text())
        if document["version"] != _CACHE_VERSION:
            return {}, {}
        facts = {key: _parse_facts(value) for key, value in document["facts"].items()}
        return facts, {key: float(value) for key, value in document["pairs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A lost or foreign cache costs time, never correctness.
        return {}, {}


def _parse_facts(value: dict[str, Any]) -> VolumeFacts:
    return VolumeFacts(
        shape=tuple(value["shape"]),
        affine=tuple(tuple(row) for row in value["affine"]),
        finite=value["finite"],
        digest=value["digest"],
        values=tuple(value["values"]),
        thumbnail=value["thumbnail"],
    )
