"""Who is labeled, unlabeled, validation and test: one JSON file, validated before anything runs."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.errors import ManifestError

# Of a run: the digest of the manifest that it is with.
MANIFEST_TAG = "medsemi.manifest_digest"
ROLES = ("labeled", "unlabeled", "validation", "test")
_TEXT_KEYS = ("name", "description", "source", "terms", "protocol")
MODALITIES = ("CT", "MR")
_KEYS = (*_TEXT_KEYS, "modality", "classes", "image", "label", *ROLES)
_ENTRY_KEYS = ("case", "patient", "image", "label")
_PLACEHOLDER = "{case}"


@dataclass(frozen=True)
class Case:
    """One volume of one patient.

    Attributes:
        case_id: unique name of the volume, used in file names and tables.
        patient: whose it is; all volumes of a patient are in one subset.
        image: path relative to the dataset folder.
        label: path relative to the dataset folder; always None for an unlabeled case, so that
            its label cannot be read even where the file exists.
        is_sealed: of the test list and not opened with a reason (see `held_out`); what prepares
            volumes refuses it.
    """

    case_id: str
    patient: str
    image: Path
    label: Path | None
    is_sealed: bool = False


@dataclass(frozen=True)
class Manifest:
    """A validated split of a data set.

    Attributes:
        name: short name of the split.
        classes: name of each label value, 0 is the background, without gaps.
        labeled: cases trained on with their labels, in the order of the file.
        unlabeled: cases trained on without labels.
        validation: cases with labels that settings and checkpoints may be chosen on.
        test: cases that nothing in training opens; they are sealed.
        digest: SHA-256 (hex) of classes, cases, order, roles and paths; prose and the order of
            JSON keys do not change it.
        description: what the split is.
        source: where the data come from.
        terms: under which terms they may be used.
        protocol: how the roles were chosen.
        modality: `CT` or `MR` where the source says so, else empty; no part of the digest.
    """

    name: str
    classes: dict[int, str]
    labeled: tuple[Case, ...]
    unlabeled: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    digest: str
    description: str = ""
    source: str = ""
    terms: str = ""
    protocol: str = ""
    modality: str = ""

    def cases(self, role: str) -> tuple[Case, ...]:
        """The cases of one of `ROLES`; ManifestError for another name."""
        if role not in ROLES:
            raise ManifestError(f"{role!r} is no role; choose one of {list(ROLES)}.")
        subset: tuple[Case, ...] = getattr(self, role)
        return subset


def load_manifest(path: str | Path) -> Manifest:
    """Read and validate a manifest file; no image or label is opened.

    Args:
        path: a JSON file as described in `parse_manifest`.

    Returns:
        The validated manifest.

    Raises:
        ManifestError: the file is missing, is no JSON, or its content is not allowed.
    """
    origin = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ManifestError(
            f"{origin}: the manifest cannot be read ({reason}); check the path."
        ) from error
    try:
        document = json.loads(text, object_pairs_hook=_refuse_repeated_keys)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{origin}: not valid JSON at line {error.lineno}, column {error.colno}"
            f" ({error.msg}); correct the file."
        ) from error
    except _RepeatedKeyError as error:
        raise ManifestError(
            f"{origin}: the key {error.args[0]!r} appears twice; keep one of them."
        ) from error
    return parse_manifest(document, origin)


def save_manifest(document: Mapping[str, Any], path: str | Path) -> Manifest:
    """Validate a manifest document, then write it whole or not at all.

    Args:
        document: as for `parse_manifest`.
        path: the JSON file to write.

    Returns:
        The validated manifest.

    Raises:
        ManifestError: the content is not allowed; nothing is written then.
    """
    manifest = parse_manifest(document, str(path))
    with write_atomically(path) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return manifest


def parse_manifest(document: object, origin: str) -> Manifest:
    """Validate the content of a manifest file.

    Args:
        document: the JSON object: `name`, `classes` ({"0": "background", "1": ...}), a list for
            each of `ROLES` (absent means empty), optional patterns `image` and `label` holding
            `{case}`, and optional prose (`description`, `source`, `terms`, `protocol`) and
            `modality` (`CT` or `MR`). An entry
            of a list is a case id, or {"case", "patient", "image", "label"} where all but "case"
            are optional and `patient` defaults to the case id.
        origin: what error messages call the document.

    Returns:
        The validated manifest.

    Raises:
        ManifestError: one sentence with the key or case, what is wrong and what to do.
    """
    if not isinstance(document, Mapping):
        raise ManifestError(f"{origin}: a manifest is one JSON object; put {{...}} around it.")
    _refuse_unknown_keys(document, _KEYS, origin)
    texts = {key: _text(document, key, origin) for key in _TEXT_KEYS if key in document}
    if not texts.get("name"):
        raise ManifestError(f"{origin}: the key 'name' is missing or empty; give the split a name.")
    classes = _parse_classes(document.get("classes"), origin)
    subsets = {role: _parse_subset(document, role, origin) for role in ROLES}
    if not subsets["labeled"]:
        raise ManifestError(f"{origin}: the list 'labeled' is empty; list at least one case.")
    _refuse_repeated_cases(subsets, origin)
    _refuse_labels_as_images(document, subsets, origin)
    _refuse_shared_patients(subsets, origin)
    return Manifest(
        name=texts["name"],
        classes=classes,
        labeled=subsets["labeled"],
        unlabeled=subsets["unlabeled"],
        validation=subsets["validation"],
        test=subsets["test"],
        digest=_digest(classes, subsets),
        description=texts.get("description", ""),
        source=texts.get("source", ""),
        terms=texts.get("terms", ""),
        protocol=texts.get("protocol", ""),
        modality=_parse_modality(document, origin),
    )


class _RepeatedKeyError(Exception):
    """A JSON object with one key twice; the parser alone would keep the last silently."""


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _RepeatedKeyError(key)
        result[key] = value
    return result


def _refuse_unknown_keys(found: Iterable[str], allowed: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in allowed:
            nearest = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"allowed are {list(allowed)}."
            raise ManifestError(f"{where}: unknown key {key!r}; {hint}")


def _text(mapping: Mapping[str, Any], key: str, where: str) -> str:
    value = mapping[key]
    if not isinstance(value, str):
        raise ManifestError(f"{where}: {key!r} must be text, not {value!r}; put it in quotes.")
    return value


def _parse_modality(document: Mapping[str, Any], origin: str) -> str:
    modality = _text(document, "modality", origin) if "modality" in document else ""
    if modality and modality not in MODALITIES:
        raise ManifestError(
            f"{origin}: 'modality' is {modality!r}; write CT or MR, or leave the key out."
        )
    return modality


def _parse_classes(value: object, origin: str) -> dict[int, str]:
    expected = 'write {"0": "background", "1": "..."} without gaps'
    if not isinstance(value, Mapping) or len(value) < 2:
        raise ManifestError(f"{origin}: 'classes' must name at least two label values; {expected}.")
    wanted = [str(number) for number in range(len(value))]
    if sorted(value) != sorted(wanted) or len(value) > 256:
        raise ManifestError(f"{origin}: 'classes' has the keys {sorted(value)}; {expected}.")
    classes = {int(key): _text(value, key, f"{origin}, 'classes'") for key in wanted}
    _refuse_unclear_names(classes, origin)
    return classes


def _refuse_unclear_names(classes: Mapping[int, str], origin: str) -> None:
    """Tables of scores and volumes have one column for each name."""
    values: dict[str, int] = {}
    for value, text in classes.items():
        name = text.strip()
        if not name:
            raise ManifestError(
                f"{origin}, 'classes': the value {value} has no name; name what it labels."
            )
        first = values.setdefault(name, value)
        if first != value:
            raise ManifestError(
                f"{origin}, 'classes': the values {first} and {value} have the name {name!r};"
                " give each a name of its own."
            )


def _parse_subset(document: Mapping[str, Any], role: str, origin: str) -> tuple[Case, ...]:
    entries = document.get(role, [])
    if not isinstance(entries, list):
        raise ManifestError(f"{origin}: {role!r} must be a list of cases; write [...].")
    patterns = _patterns(document, origin)
    return tuple(_parse_entry(entry, patterns, role, origin) for entry in entries)


def _patterns(document: Mapping[str, Any], origin: str) -> dict[str, str]:
    patterns = {key: document[key] for key in ("image", "label") if key in document}
    for key, pattern in patterns.items():
        if _PLACEHOLDER not in _text(patterns, key, origin):
            raise ManifestError(
                f"{origin}: the pattern {key!r} is {pattern!r}; it must hold {_PLACEHOLDER}."
            )
    return patterns


def _parse_entry(entry: object, patterns: Mapping[str, str], role: str, origin: str) -> Case:
    fields = {"case": entry} if isinstance(entry, str) else entry
    where = f"{origin}, list {role!r}"
    if not isinstance(fields, Mapping) or "case" not in fields:
        raise ManifestError(f'{where}: {entry!r} is no case; write an id or {{"case": id, ...}}.')
    _refuse_unknown_keys(fields, _ENTRY_KEYS, where)
    case_id = _text(fields, "case", where)
    if not case_id or case_id != case_id.strip() or set(case_id) & set('/\\:*?"<>|\0\n'):
        raise ManifestError(
            f"{where}: {case_id!r} is no usable case id; use letters, digits, '-', '_' and '.'."
        )
    where = f"{where}, case {case_id!r}"
    patient = _text(fields, "patient", where).strip() if "patient" in fields else case_id
    if not patient:
        raise ManifestError(f"{where}: 'patient' is empty; name whose it is, or leave the key out.")
    image = _path(fields, patterns, "image", case_id, where)
    label = _path(fields, patterns, "label", case_id, where)
    if image is None:
        raise ManifestError(f"{where}: no image; give the entry or the manifest the key 'image'.")
    if label is None and role in ("labeled", "validation"):
        raise ManifestError(f"{where}: no label; give the entry or the manifest the key 'label'.")
    return Case(case_id, patient, image, None if role == "unlabeled" else label, role == "test")


def _path(
    fields: Mapping[str, Any], patterns: Mapping[str, str], key: str, case_id: str, where: str
) -> Path | None:
    if key in fields:
        text = _text(fields, key, where)
    elif key in patterns:
        text = patterns[key].replace(_PLACEHOLDER, case_id)
    else:
        return None
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text:
        raise ManifestError(
            f"{where}: the path {text!r} leaves the dataset folder;"
            " write it relative to that folder with '/'."
        )
    return Path(path)


def _refuse_repeated_cases(subsets: Mapping[str, tuple[Case, ...]], origin: str) -> None:
    ids: dict[str, str] = {}
    images: dict[Path, str] = {}
    for role, cases in subsets.items():
        for case in cases:
            if case.case_id in ids:
                raise ManifestError(
                    f"{origin}: the case {case.case_id!r} is listed twice"
                    f" ({ids[case.case_id]} and {role}); keep one entry."
                )
            if case.image in images:
                raise ManifestError(
                    f"{origin}: the image {case.image.as_posix()} belongs to two cases"
                    f" ({images[case.image]!r} and {case.case_id!r}); keep one of them."
                )
            ids[case.case_id] = role
            images[case.image] = case.case_id


def _refuse_labels_as_images(
    document: Mapping[str, Any], subsets: Mapping[str, tuple[Case, ...]], origin: str
) -> None:
    """Those of unlabeled cases, which the cases themselves do not hold, included."""
    labels: dict[Path, str] = {}
    patterns = _patterns(document, origin)
    for role, cases in subsets.items():
        for entry, case in zip(document.get(role, ()), cases, strict=True):
            fields = entry if isinstance(entry, Mapping) else {}
            label = _path(fields, patterns, "label", case.case_id, origin)
            if label is not None:
                labels.setdefault(label, case.case_id)
    for case in (case for cases in subsets.values() for case in cases):
        if case.image in labels:
            raise ManifestError(
                f"{origin}: the image {case.image.as_posix()} of the case {case.case_id!r} is the"
                f" label of the case {labels[case.image]!r}; take it out, or correct the path."
            )


def _refuse_shared_patients(subsets: Mapping[str, tuple[Case, ...]], origin: str) -> None:
    roles: dict[str, str] = {}
    for role, cases in subsets.items():
        for case in cases:
            if roles.setdefault(case.patient, role) != role:
                raise ManifestError(
                    f"{origin}: the patient {case.patient!r} is in two subsets"
                    f" ({roles[case.patient]} and {role}); move all cases of a patient into one."
                )


def _digest(classes: Mapping[int, str], subsets: Mapping[str, tuple[Case, ...]]) -> str:
    content = {
        "classes": [classes[value] for value in sorted(classes)],
        "cases": {
            role: [
                [
                    case.case_id,
                    case.patient,
                    case.image.as_posix(),
                    case.label.as_posix() if case.label else None,
                ]
                for case in cases
            ]
            for role, cases in subsets.items()
        },
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
