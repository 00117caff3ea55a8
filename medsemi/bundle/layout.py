"""The checks that a submission to MONAI's model zoo meets, as far as they need no network.

Source: CONTRIBUTING.md and ci/verify_bundle.py of Project-MONAI/model-zoo, and the bundle
specification of MONAI 1.6. The zoo's schema is fetched by its address; `metadata_schema.json` stands
in for it and is written from the specification's list of fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medsemi.bundle.reading import Finding, read

SCHEMA = Path(__file__).with_name("metadata_schema.json")
LARGEST_FILE = 25 * 2**20  # bytes; anything larger is listed in large_files.yml

_METADATA = "configs/metadata.json"
_NEEDED = (_METADATA, "LICENSE", "docs/README.md")
_SUFFIXES = ("yaml", "yml", "json")


def check_layout(bundle: Path) -> list[str]:
    """Check the files and the metadata of a bundle.

    Args:
        bundle: its folder.

    Returns:
        One sentence for each thing that a submission would be refused for; empty if all is well.
    """
    problems = [
        f"{bundle / name}: is missing; add it." for name in _NEEDED if not (bundle / name).is_file()
    ]
    if not any((bundle / "configs" / f"inference.{suffix}").is_file() for suffix in _SUFFIXES):
        problems.append(f"{bundle / 'configs'}: holds no inference.yaml or .json; add one.")
    if (bundle / _METADATA).is_file():
        problems.extend(_check_metadata(bundle / _METADATA))
    return [*problems, *_check_sizes(bundle)]


def _check_metadata(path: Path) -> Iterator[str]:
    import jsonschema

    findings: list[Finding] = []
    metadata = read(path, findings)
    yield from map(str, findings)
    if not metadata:
        return
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for error in jsonschema.Draft202012Validator(schema).iter_errors(metadata):
        where = "::".join(map(str, error.absolute_path)) or "top"
        yield f"{path}: {where}: {error.message}; see {SCHEMA.name}."
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(changelog, dict) or version not in changelog:
        yield f"{path}: changelog: has no entry for version {version}; describe what changed."


def _check_sizes(bundle: Path) -> Iterator[str]:
    listed = _large_files(bundle / "large_files.yml")
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if path.is_file() and path.stat().st_size > LARGEST_FILE and name not in listed:
            yield f"{path}: is larger than 25 MB; list it in large_files.yml."


def _large_files(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    entries: Any = read(path, []).get("large_files") or ()
    return {str(entry.get("path")) for entry in entries if isinstance(entry, dict)}
