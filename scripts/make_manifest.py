"""Split the images of a folder by patient and write the manifest that training needs.

python scripts/make_manifest.py DATA --classes "left atrium" --labeled 8 --validation 4 --test 10
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsemi.data.checks import check_all_data
from medsemi.data.headers import refuse_other_kinds
from medsemi.data.layouts import Layout, find_layout, named_classes, read_modality
from medsemi.data.manifest import ROLES, Manifest, parse_manifest, save_manifest
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
    """Find the cases, deal the patients, check all files and write the manifest.

    Args:
        options: the parsed command line.

    Returns:
        The manifest that was written.

    Raises:
        MedsemiError: the folder, the patterns or the counts leave doubt or cannot be met, or a
            file is refused; nothing is written then.
    """
    if options.output.exists() and not options.overwrite:
        raise ManifestError(
            f"{options.output}: exists already; choose another --output or add --overwrite."
        )
    if not options.folder.is_dir():
        raise ManifestError(f"{options.folder}: no such folder; check the path.")
    layout = _layout(options)
    if all(case.label is None for case in layout.cases):
        raise ManifestError(
            f"{options.folder}: no image has a label file, such as for {layout.cases[0].image}; a"
            " label has the name of its image (without _0000)."
        )
    for case in (*layout.cases, *layout.held_out):
        for path in (case.image, case.label):
            if path is not None:
                refuse_other_kinds(options.folder / path)
    document = _document(layout, options)
    if not options.names_only:
        check_all_data(parse_manifest(document, str(options.output)), options.folder)
    return save_manifest(document, options.output)


def _layout(options: argparse.Namespace) -> Layout:
    if options.images is None and options.labels is None:
        layout = find_layout(options.folder, options.classes, options.images_ts is not None)
    else:
        images, labels = options.images or "images/{case}", options.labels or "labels/{case}"
        cases = find_cases(options.folder, images, labels)
        classes = named_classes(options.folder, options.classes)
        modality = read_modality(options.folder / "dataset.json")
        layout = Layout(cases, classes, modality=modality)
    if options.images_ts is not None and not layout.held_out:
        raise ManifestError(
            f"{options.folder}: --images-ts needs a folder imagesTs with images beside imagesTr,"
            " found without --images; leave it out or use --test to deal patients."
        )
    return layout


def _document(layout: Layout, options: argparse.Namespace) -> dict[str, Any]:
    if layout.classes is None:
        raise ManifestError(
            f"{options.folder}: holds no dataset.json that names the classes; add --classes with the"
            " names of the label values 1, 2, ..."
        )
    document: dict[str, Any] = {
        "name": options.name or options.output.stem,
        "protocol": f"Patients dealt by scripts/make_manifest.py with seed {options.seed}.",
        "classes": {str(value): name for value, name in enumerate(["background", *layout.classes])},
    }
    if layout.modality:
        document["modality"] = layout.modality
    patients = _patients([*layout.cases, *layout.held_out], options)
    entries = split_cases(layout.cases, patients, _counts(layout, patients, options), options.seed)
    if layout.left_out:
        print(f"imagesTs: {layout.left_out} images left out (see --images-ts)")
    if layout.held_out:
        entries[options.images_ts] += [_entry(case, patients, options) for case in layout.held_out]
    return document | entries


def _counts(layout: Layout, patients: dict[str, str], options: argparse.Namespace) -> SplitCounts:
    """Without `--labeled`, every patient with labels that is not held out is labeled."""
    labeled = options.labeled
    if labeled is None:
        lacking = {patients[case.case_id] for case in layout.cases if case.label is None}
        complete = {patients[case.case_id] for case in layout.cases} - lacking
        labeled = len(complete) - options.validation - options.test
    return SplitCounts(labeled, options.validation, options.test)


def _entry(
    case: FoundCase, patients: dict[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    entry = {"case": case.case_id, "patient": patients[case.case_id]}
    entry["image"] = case.image.as_posix()
    if options.images_ts == "test":
        if case.label is None:
            raise ManifestError(
                f"{options.folder / case.image}: has no label in labelsTs, so that it cannot be"
                " scored; add it or leave --images-ts out."
            )
        entry["label"] = case.label.as_posix()
    return entry


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
        description="Split the images of a folder by patient and write a manifest. The folder holds"
        " images/ and labels/, or is one of nnU-Net or the Medical Segmentation Decathlon"
        " (imagesTr, labelsTr, dataset.json), as it is.",
        epilog="Images without a label file become unlabeled cases.",
    )
    add = parser.add_argument
    add("folder", type=Path, help="dataset folder, later given to training as dataset_dir")
    add("--output", type=Path, default=Path("manifest.json"), help="file to write (%(default)s)")
    add("--classes", nargs="+", help="names of the label values 1, 2, ... (from dataset.json)")
    add("--labeled", type=int, help="patients trained on with labels (all that are left)")
    add("--validation", type=int, default=0, help="patients to choose settings on (%(default)s)")
    add("--test", type=int, default=0, help="patients that training never opens (%(default)s)")
    add("--seed", type=int, default=0, help="another seed, another split (%(default)s)")
    add("--images", help="where images are, such as scans/{case}/mr (found by itself)")
    add("--labels", help="likewise for labels (found by itself)")
    add("--images-ts", choices=("unlabeled", "test"), help="role of imagesTs (left out)")
    add("--name", help="name of the split (the name of the output file)")
    add("--names-only", action="store_true", help="do not open and compare the files")
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
