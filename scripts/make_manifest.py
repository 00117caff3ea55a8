"""Split the images of a folder by patient and write the manifest that training needs.

python scripts/make_manifest.py DATA --classes "left atrium" --labeled 8 --validation 4 --test 10
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsemi.data.manifest import ROLES, Manifest, save_manifest
from medsemi.data.splits import (
    FoundCase,
    SplitCounts,
    find_cases,
    patients_by_case,
    patients_by_expression,
    patients_by_prefix,
    split_cases,
)
from medsemi.errors import ManifestError, MedsemiError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the manifest was written, 2 when the input is refused."""
    options = _parser().parse_args(arguments)
    try:
        manifest = make(options)
    except MedsemiError as error:
        print(error, file=sys.stderr)
        return 2
    print(_table(manifest))
    print(f"written: {options.output}")
    return 0


def make(options: argparse.Namespace) -> Manifest:
    """Find the cases, deal the patients and write the manifest.

    Args:
        options: the parsed command line.

    Returns:
        The manifest that was written.

    Raises:
        ManifestError: the folder, the patterns or the counts leave doubt or cannot be met.
    """
    if options.output.exists() and not options.overwrite:
        raise ManifestError(
            f"{options.output}: exists already; choose another --output or add --overwrite."
        )
    if not options.folder.is_dir():
        raise ManifestError(f"{options.folder}: no such folder; check the path.")
    cases = find_cases(options.folder, options.images, options.labels)
    counts = SplitCounts(options.labeled, options.validation, options.test)
    classes = ["background", *options.classes]
    document: dict[str, Any] = {
        "name": options.name or options.output.stem,
        "protocol": f"Patients dealt by scripts/make_manifest.py with seed {options.seed}.",
        "classes": {str(value): name for value, name in enumerate(classes)},
    }
    document |= split_cases(cases, _patients(cases, options), counts, options.seed)
    return save_manifest(document, options.output)


def _patients(cases: Sequence[FoundCase], options: argparse.Namespace) -> dict[str, str]:
    ids = [case.case_id for case in cases]
    if options.patient_regex is not None:
        return patients_by_expression(ids, options.patient_regex)
    if options.patient_prefix is not None:
        return patients_by_prefix(ids, options.patient_prefix)
    return patients_by_case(ids, options.one_case_per_patient)


def _table(manifest: Manifest) -> str:
    lines = [f"{'subset':<12}{'patients':>9}{'cases':>9}"]
    for role in ROLES:
        cases = manifest.cases(role)
        lines.append(f"{role:<12}{len({case.patient for case in cases}):>9}{len(cases):>9}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Split the images of a folder by patient and write a manifest.",
        epilog="Images without a label file become unlabeled cases.",
    )
    add = parser.add_argument
    add("folder", type=Path, help="dataset folder, later given to training as dataset_dir")
    add("--output", type=Path, default=Path("manifest.json"), help="file to write (%(default)s)")
    add("--classes", nargs="+", required=True, help="names of the label values 1, 2, ...")
    add("--labeled", type=int, required=True, help="patients trained on with labels")
    add("--validation", type=int, default=0, help="patients to choose settings on (%(default)s)")
    add("--test", type=int, default=0, help="patients that training never opens (%(default)s)")
    add("--seed", type=int, default=0, help="another seed, another split (%(default)s)")
    add("--images", default="images/{case}", help="where images are (%(default)s)")
    add("--labels", default="labels/{case}", help="where labels are (%(default)s)")
    add("--name", help="name of the split (the name of the output file)")
    add("--overwrite", action="store_true", help="replace the output file if it exists")
    patient = parser.add_mutually_exclusive_group()
    patient.add_argument("--patient-regex", help="its first group, in the case id, is the patient")
    patient.add_argument("--patient-prefix", help="the patient is what stands before this text")
    patient.add_argument(
        "--one-case-per-patient", action="store_true", help="names may look alike all the same"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
