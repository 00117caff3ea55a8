"""Volumes that are decoded once and then cut by window.

The deterministic transforms of a bundle (load, orient, resample, normalize) run once per case;
their result lies in the cache folder as memory-mapped arrays. A training step reads only its
windows, ranks and workers share the pages, and where memory is short the page cache decides.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from importlib.metadata import version
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Spacingd
from numpy.typing import NDArray

from medsemi.atomic import write_atomically
from medsemi.data.alignment import Transforms, refuse_apart, run_aligned
from medsemi.data.code_digest import class_digest, code_digest
from medsemi.data.label_values import as_classes, distinct_values
from medsemi.data.manifest import Case
from medsemi.data.reading import read_volume
from medsemi.data.windows import foreground_counts
from medsemi.errors import DataError, ManifestError

logger = logging.getLogger(__name__)

# Higher whenever the store makes something else of what the transforms return.
_RULES = 2


@dataclass(frozen=True)
class Volume:
    """One prepared case; arrays stay on disk, and those used lately are open.

    Attributes:
        case_id: name of the case in the manifest.
        image_file: array of shape (channels, *space), float32.
        label_file: array of shape (*space), uint8; None where labels must not be read.
        affine: (4, 4) matrix from voxel indices to mm.
        lost_classes: those of which resampling left no voxel in the label.
    """

    case_id: str
    image_file: Path
    label_file: Path | None
    affine: NDArray[np.float64]
    lost_classes: tuple[int, ...] = ()

    @property
    def volume_id(self) -> str:
        """Name of the case, see `Windowed`."""
        return self.case_id

    @property
    def image(self) -> NDArray[np.float32]:
        """Intensities, shape (channels, *space), memory-mapped."""
        return _mapped(self.image_file)

    @property
    def label(self) -> NDArray[np.uint8] | None:
        """Class indices, shape (*space), memory-mapped; None for an unlabeled case."""
        return None if self.label_file is None else _mapped(self.label_file)

    @cached_property
    def foreground_counts(self) -> NDArray[np.int64]:
        """Voxels with a class above 0 in each plane of the first axis; empty for an unlabeled case."""
        return foreground_counts(self.label)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in mm, one per spatial axis."""
        axes = self.image.ndim - 1
        return tuple(np.linalg.norm(self.affine[:3, :axes], axis=0).tolist())


# Each open array has a file descriptor, of which a process has 256 on some systems.
@lru_cache(maxsize=128)
def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    return array


class VolumeStore:
    """Prepares cases and remembers the result on disk.

    The key of an entry is the digest of the file contents, of the transforms with their settings,
    and of the libraries that run them, so that nothing stale is ever served. An entry is written
    under a temporary name, and its description comes last: what is half written is never seen.
    """

    def __init__(
        self, dataset_dir: str | Path, transforms: Transforms, cache_dir: str | Path
    ) -> None:
        """Remember where to read and where to keep.

        Args:
            dataset_dir: the folder that paths of the manifest are relative to.
            transforms: deterministic; takes {"image": path, "label": path} (the label only where
                there is one) and returns a channel-first image, with its affine, and label. See
                `alignment` for how both stay on one grid.
            cache_dir: the folder for prepared arrays.
        """
        self.dataset_dir, self.cache_dir = Path(dataset_dir), Path(cache_dir)
        self.transforms = transforms
        versions = {name: version(name) for name in ("monai", "nibabel", "numpy", "torch")}
        self._recipe = json.dumps([describe(transforms), versions, _RULES], sort_keys=True)

    def volumes(self, cases: Iterable[Case], with_label: bool) -> list[Volume]:
        """Return the prepared volumes of `cases`, in order; labels only if `with_label`."""
        return [self.volume(case, with_label) for case in cases]

    def references(self, cases: Iterable[Case]) -> list[Volume] | None:
        """Return labeled `cases` as they are before `Spacingd` resamples them.

        Returns:
            Volumes on the grids of the files, up to orientation; None if nothing is resampled.
        """
        kept = self._without_resampling()
        if kept is None:
            return None
        return VolumeStore(self.dataset_dir, kept, self.cache_dir).volumes(cases, True)

    def _without_resampling(self) -> Compose | None:
        steps = getattr(self.transforms, "transforms", ())
        kept = [step for step in steps if not isinstance(step, Spacingd)]
        return None if len(kept) == len(steps) else Compose(kept)

    def volume(self, case: Case, with_label: bool) -> Volume:
        """Return one prepared volume, preparing it if it is not in the cache.

        A label that lost a class by resampling is logged as a warning.

        Raises:
            DataError: if a file cannot be read or the transforms do not fit it.
            ManifestError: if it is a test case that was not opened with a reason.
        """
        if case.is_sealed:
            raise ManifestError(
                f"the case {case.case_id!r} is of the test list, which no training opens; score it"
                " with `evaluate.yaml`, which takes it from `opened_cases` and keeps the reason."
            )
        sources = {"image": self.dataset_dir / case.image}
        if with_label and case.label is not None:
            sources["label"] = self.dataset_dir / case.label
        key = self._key(sources)
        described = self.cache_dir / f"{key}.json"
        if not described.is_file():
            self._prepare(key, sources)
        record = json.loads(described.read_text())
        lost = tuple(record.get("lost_classes", ()))
        if lost:
            logger.warning(
                "%s: the classes %s have no voxel left after resampling; give a finer spacing, or the"
                " case counts as one without them.", sources["label"], list(lost),
            )  # fmt: skip
        label_file = self._file(key, "label") if "label" in sources else None
        affine = np.array(record["affine"])
        return Volume(case.case_id, self._file(key, "image"), label_file, affine, lost)

    def _key(self, sources: Mapping[str, Path]) -> str:
        digest = hashlib.sha256(self._recipe.encode())
        for name, path in sources.items():
            digest.update(name.encode())
            digest.update(content_digest(path))
        return digest.hexdigest()[:32]

    def _file(self, key: str, name: str) -> Path:
        return self.cache_dir / f"{key}.{name}.npy"

    def _prepare(self, key: str, sources: Mapping[str, Path]) -> None:
        try:
            data = run_aligned(self.transforms, sources)
        except Exception as error:
            cause = " ".join(str(error.__cause__ or error).split())[:200]
            label = f" with its label {sources['label']}" if "label" in sources else ""
            msg = f"{sources['image']} cannot be prepared{label}: {cause}"
            raise DataError(msg) from error
        image = np.asarray(data["image"], dtype=np.float32)
        if not np.isfinite(image).all():
            raise DataError(
                f"{sources['image']}: its preparation gives NaN or infinity; fill values such as -3.4e38"
                " have to be replaced by a usual intensity."
            )
        arrays: dict[str, NDArray[Any]] = {"image": image}
        if "label" in sources:
            arrays["label"] = as_classes(np.asarray(data["label"])[0], sources["label"])
            if arrays["label"].shape != image.shape[1:]:
                msg = f"{sources['label']} has another shape than its image after preparation."
                raise DataError(msg)
            refuse_apart(data["image"], data["label"], sources)
        for name, array in arrays.items():
            with write_atomically(self._file(key, name)) as temporary:
                np.save(temporary, np.ascontiguousarray(array))
        _mapped.cache_clear()  # of files that were replaced
        with write_atomically(self.cache_dir / f"{key}.json") as temporary:
            affine = np.asarray(data["image"].affine, dtype=float).tolist()
            lost = self._lost_classes(sources, arrays.get("label"))
            temporary.write_text(json.dumps({"affine": affine, "lost_classes": lost}))

    def _lost_classes(
        self, sources: Mapping[str, Path], label: NDArray[np.uint8] | None
    ) -> list[int]:
        """Classes that the preparation without its resampling leaves in a label, and with it does not."""
        kept = self._without_resampling()
        if label is None or kept is None:
            return []
        left = set(distinct_values(label).tolist())
        if left.issuperset(distinct_values(read_volume(sources["label"])[0]).tolist()):
            return []
        whole = np.asarray(run_aligned(kept, sources)["label"])[0]
        before = distinct_values(as_classes(whole, sources["label"]))
        return sorted(set(before.tolist()) - left)


def content_digest(path: Path) -> bytes:
    """SHA-256 of a file of a data set.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): check dataset_dir and manifest."
        raise DataError(msg) from error


# What its text tells whole.
_TEXTS = (slice, range, complex, bytes, torch.dtype, torch.device, np.dtype, PurePath)


def describe(value: object) -> object:
    """Describe a transform by class, code and settings, recursively, for the key of the cache.

    Two transforms with equal settings, and no others, have equal descriptions; random state is left
    out, because the transforms in front of the cache are deterministic.

    Raises:
        DataError: for a lambda, and for an object whose settings cannot be read.
    """
    return _describe(value, ())


def _describe(value: object, above: tuple[int, ...]) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, _TEXTS):
        return [type(value).__name__, str(value)]
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return [str(value.dtype), value.tolist()]
    if id(value) in above:  # an object may hold one of its own methods
        return "itself"
    inner = partial(_describe, above=(*above, id(value)))
    if isinstance(value, Mapping):
        return {str(key): inner(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [inner(item) for item in value]
    return _describe_object(value, inner)


def _describe_object(value: object, inner: Callable[[object], object]) -> object:
    if isinstance(value, partial):
        return [inner(part) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, MethodType):
        return [inner(value.__func__), inner(value.__self__)]
    if isinstance(value, FunctionType):
        return _describe_function(value, inner)
    if isinstance(value, (np.random.RandomState, np.ufunc, type, BuiltinFunctionType)):
        return _name(value)
    settings = _settings(value)
    if settings is None:
        raise DataError(
            f"the settings of a {type(value).__qualname__} in the transforms cannot be read; write a"
            " function or a class in its place."
        )
    return {
        "class": _name(type(value)),
        "code": class_digest(type(value)),
        "settings": {k: inner(v) for k, v in settings.items() if k != "R"},
    }


def _describe_function(value: FunctionType, inner: Callable[[object], object]) -> object:
    if value.__name__ == "<lambda>":
        raise DataError("a lambda in the transforms has no description; write a function instead.")
    return {
        "function": _name(value),
        "code": code_digest(value.__code__),
        "defaults": [inner(value.__defaults__), inner(value.__kwdefaults__)],
        "closure": [inner(cell.cell_contents) for cell in value.__closure__ or ()],
        "settings": inner(vars(value)),
    }


def _name(value: object) -> str:
    """Module and name of what has a name, else of its class."""
    named = value if hasattr(value, "__name__") else type(value)
    name = getattr(named, "__qualname__", None) or getattr(named, "__name__", "")
    return f"{getattr(named, '__module__', None) or ''}.{name}"


def _settings(value: object) -> dict[str, object] | None:
    """The attributes of an object; None where Python does not show them."""
    slots = [name for one in type(value).__mro__ for name in _names(getattr(one, "__slots__", ()))]
    if not hasattr(value, "__dict__") and not slots:
        return None
    own = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {**own, **getattr(value, "__dict__", {})}


def _names(slots: str | Iterable[str]) -> list[str]:
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
