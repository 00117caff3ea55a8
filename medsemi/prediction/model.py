"""What a bundle says about itself to those who run it: key `medsemi` of `configs/metadata.json`.

Read without torch, so that `medsemi inspect --model` starts at once. The network itself is built by
`medsemi.prediction.network`.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsemi.prediction import contract as check
from medsemi.prediction.codes import RunStopped

NORMS = ("none", "zscore", "range", "minmax")
_KEYS = (
    "name", "modality", "labels", "spacing", "orientation", "intensity", "min_slices", "max_volumes",
    "body_part", "training_ranges", "agreement_limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """One structure.

    Attributes:
        number: value in the label map, from 1 without a hole.
        name: plain words.
        category: DICOM code (scheme, value, meaning) of the category.
        type: DICOM code of the structure.
        color: red, green, blue, 0 to 255; a bundle that names none gets one for each number.
    """

    number: int
    name: str
    category: tuple[str, str, str] = ("SCT", "85756007", "Tissue")
    type: tuple[str, str, str] = ("SCT", "85756007", "Tissue")
    color: tuple[int, int, int] = (230, 60, 60)


@dataclass(frozen=True, slots=True)
class Intensity:
    """How voxel values reach the network.

    Attributes:
        clip: least and greatest value, in source units; None does not clip.
        norm: `none`; `zscore` by mean and SD of the whole volume; `range` maps `clip` to 0 … 1;
            `minmax` maps least and greatest value of the whole volume to 0 … 1.
        background: value outside the scan, in source units; None takes the volume's minimum.
    """

    clip: tuple[float, float] | None = None
    norm: str = "none"
    background: float | None = None


@dataclass(frozen=True)
class Model:
    """A bundle, as its metadata describes it.

    Attributes:
        folder: of the bundle.
        name: key `name` of the contract, else the name of the folder.
        version: of the bundle.
        digest: SHA-256 over everything that the result depends on: configs and weights.
        modality: accepted DICOM modalities; `any` accepts all.
        labels: structures, by number.
        spacing: mm along each axis of `orientation`; None keeps that of the source.
        orientation: axis codes of the network's grid, such as RAS; None keeps the axes of the source,
            slices last, as a network that sees slice by slice needs.
        intensity: preparation of values.
        min_slices: fewer positions are no volume; of a DICOM series, fewer than two never are.
        max_volumes: more volumes in one series are not predicted unasked.
        body_part: DICOM body part that the model is meant for; empty if it does not matter.
        training_ranges: least and greatest of each measure of the training data, see `ranges`.
        agreement_limit: W08 below it.
        weights: network name (model, student, teacher) -> file.
    """

    folder: Path
    name: str
    version: str
    digest: str
    modality: tuple[str, ...]
    labels: tuple[Label, ...]
    spacing: tuple[float, float, float] | None = None
    orientation: str | None = "RAS"
    intensity: Intensity = field(default_factory=Intensity)
    min_slices: int = 3
    max_volumes: int = 4
    body_part: str = ""
    training_ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    agreement_limit: float = 0.8
    weights: Mapping[str, Path] = field(default_factory=dict)

    def accepts(self, modality: str) -> bool:
        """Whether images of this modality fit; an unknown one (NIfTI) does only for `any`."""
        return "any" in self.modality or modality.upper() in self.modality


def load_model(folder: str | Path) -> Model:
    """Read and check what a bundle says about itself.

    Args:
        folder: of the bundle.

    Raises:
        RunStopped: E10 with the reason, if the bundle cannot be used.
    """
    folder = Path(folder)
    try:
        metadata = _metadata(folder)
        contract = metadata.get("medsemi")
        if not isinstance(contract, dict):
            raise _invalid("configs/metadata.json has no key 'medsemi'")
        return _model(folder, metadata, contract, _weights(folder))
    except OSError as error:
        name = Path(error.filename or folder).name
        why = f"{name} cannot be read ({error.strerror}); ask whoever made it for leave to read it"
        raise _invalid(why) from error
    except ValueError as error:
        raise _invalid(f"configs/metadata.json, key 'medsemi': {error}") from error


def _invalid(why: str) -> RunStopped:
    return RunStopped("E10", why=_text(why))


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "configs" / "metadata.json"
    if not folder.is_dir():
        raise _invalid(f"{folder.name} is no folder; name the folder of a bundle")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        why = f"{folder.name or folder} holds no configs/metadata.json; {_other_folder(folder)}"
        raise _invalid(why) from error
    except (OSError, ValueError) as error:
        raise _invalid("configs/metadata.json cannot be read") from error
    if not isinstance(metadata, dict):
        raise _invalid("configs/metadata.json holds no object")
    return metadata


def _other_folder(folder: Path) -> str:
    """What to name instead of a folder that is no bundle: those that trainings left in it."""
    left = [
        str(path.parents[1])
        for pattern in ("bundle", "*/bundle")  # of a stage, of a run of several stages
        for path in sorted(folder.glob(f"{pattern}/configs/metadata.json"))
    ]
    if not left:
        return "name the folder of a bundle"
    whose = "training left its bundle" if len(left) == 1 else "trainings left their bundles"
    return f"the {whose} in {', '.join(left)}"


def _weights(folder: Path) -> dict[str, Path]:
    """Files of weights, by network."""
    weights = {
        name: path
        for name in ("model", "student", "teacher")
        if (path := folder / "models" / f"{name}.pt").is_file()
    }
    if "model" not in weights:
        raise _invalid(
            f"{folder.name or folder} holds no weights (models/model.pt); train with it and name the"
            " folder 'bundle' that the training leaves, or ask whoever made it for the weights"
        )
    return weights


def _model(
    folder: Path,
    metadata: Mapping[str, Any],
    contract: Mapping[str, Any],
    weights: Mapping[str, Path],
) -> Model:
    check.refuse_unknown(contract, _KEYS, "")
    usual = Model(folder, "", "", "", (), ())
    spacing, limit = contract.get("spacing"), contract.get("agreement_limit", usual.agreement_limit)
    return Model(
        folder=folder,
        name=_text(check.text("name", contract.get("name") or folder.resolve().name)),
        version=str(metadata.get("version", "")),
        modality=_modality(check.needed(contract, "modality")),
        labels=_labels(check.mapping("labels", check.needed(contract, "labels"))),
        spacing=None if spacing is None else check.lengths("spacing", spacing),
        orientation=_orientation(contract.get("orientation", usual.orientation)),
        intensity=_intensity(check.mapping("intensity", contract.get("intensity", {}))),
        min_slices=check.whole("min_slices", contract.get("min_slices", usual.min_slices), 1),
        max_volumes=check.whole("max_volumes", contract.get("max_volumes", usual.max_volumes), 1),
        body_part=check.text("body_part", contract.get("body_part") or ""),
        training_ranges=_ranges(contract.get("training_ranges", {})),
        agreement_limit=check.number("agreement_limit", limit),
        weights=weights,
        digest=_digest(folder),  # last: what is wrong above is told before files are read
    )


def _text(text: str) -> str:
    """A text as it can be written anywhere: names of folders, and JSON, need not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _modality(value: Any) -> tuple[str, ...]:  # noqa: ANN401  (JSON)
    upper = [each.upper() for each in check.texts("modality", value)]
    return tuple("any" if each == "ANY" else each for each in upper)


def _ranges(value: Any) -> dict[str, tuple[float, float]]:  # noqa: ANN401  (JSON)
    ranges = check.mapping("training_ranges", value)
    return {name: check.in_order(f"training_ranges.{name}", ends) for name, ends in ranges.items()}


def _labels(entries: Mapping[str, Any]) -> tuple[Label, ...]:
    """Structures by number, each with a name of its own: tables and agreement go by names."""
    if not all(str(number) in entries for number in range(1, len(entries) + 1)):
        raise ValueError("labels must be numbered 1, 2, 3 … without a hole")
    labels = tuple(_label(n, entries[str(n)]) for n in range(1, len(entries) + 1))
    numbers: dict[str, int] = {}
    for label in labels:
        first = numbers.setdefault(label.name, label.number)
        if first != label.number:
            raise ValueError(
                f"labels {first} and {label.number} are both called '{label.name}'; give each a name"
                " of its own"
            )
    return labels


def _label(number: int, value: Any) -> Label:  # noqa: ANN401  (JSON)
    entry = check.mapping(f"labels.{number}", value)
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"label {number} has no name; name its structure in plain words")
    checks = {"category": check.code, "type": check.code, "color": check.color}
    given: dict[str, Any] = {
        key: of(f"labels.{number}.{key}", entry[key]) for key, of in checks.items() if key in entry
    }
    return Label(number, name.strip(), **{"color": _distinct_color(number), **given})


def _distinct_color(number: int) -> tuple[int, int, int]:
    """Red for 1; each further one is as far from those before it as steps of the golden ratio lead."""
    hue = (number - 1) * (math.sqrt(5) - 1) / 2
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, 0.74, 0.9))
    return red, green, blue


def _orientation(codes: Any) -> str | None:  # noqa: ANN401  (JSON)
    if codes is None:
        return None
    if sorted(check.text("orientation", codes)) not in [
        sorted(a + b + c) for a in "LR" for b in "AP" for c in "SI"
    ]:
        raise ValueError(f"orientation '{codes}' is not made of L/R, A/P and S/I")
    return str(codes)


def _intensity(entry: Mapping[str, Any]) -> Intensity:
    check.refuse_unknown(entry, ("clip", "norm", "background"), "intensity.")
    clip, norm, background = entry.get("clip"), entry.get("norm", "none"), entry.get("background")
    if norm not in NORMS:
        raise ValueError(f"intensity norm '{norm}' must be one of {', '.join(NORMS)}")
    if norm == "range" and clip is None:
        raise ValueError("intensity norm 'range' needs 'clip'")
    return Intensity(
        None if clip is None else check.in_order("intensity.clip", clip, apart=True),
        norm,
        None if background is None else check.number("intensity.background", background),
    )


def _digest(folder: Path) -> str:
    """Digest of names and contents of configs and weights."""
    digest = hashlib.sha256()
    for path in sorted([*(folder / "configs").glob("*"), *(folder / "models").glob("*")]):
        if path.is_file() and not path.name.startswith("."):
            digest.update(
                path.relative_to(folder).as_posix().encode(errors="surrogateescape") + b"\0"
            )
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
