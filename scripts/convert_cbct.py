"""Convert dental cone-beam scans to NIfTI with the class root canal, and write a manifest.

    python scripts/convert_cbct.py sts STSR2025 data/stsr --labeled 20 --validation 5 --test 5
    python scripts/convert_cbct.py toothfairy ToothFairy3 data/molars --labeled 40 --test 40
    python scripts/convert_cbct.py folder scans data/scans --one-case-per-patient --labeled 8

Where the data come from, and under which terms, is in docs/data_root_canal.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsemi.atomic import write_atomically
from medsemi.data.cbct import (
    FIRST_MOLARS,
    CanalCase,
    ScanFiles,
    find_folder,
    find_sts,
    find_toothfairy,
    first_molars,
    read_scan,
    voxel_counts,
    whole_scan,
    write_case,
)
from medsemi.data.manifest import Manifest, save_manifest
from medsemi.data.reading import read_volume
from medsemi.data.splits import (
    FoundCase,
    SplitCounts,
    patients_by_case,
    patients_by_expression,
    split_cases,
    split_patients,
)
from medsemi.errors import DataError, ManifestError, MedsemiError

FINDERS = {"sts": find_sts, "toothfairy": find_toothfairy, "folder": find_folder}
CANAL = {"sts": [2], "folder": [1]}
SOURCES = {
    "sts": "STS or STSR challenge",
    "toothfairy": "ToothFairy, one case per first molar",
    "folder": "own scans",
}


@dataclass
class Outcome:
    """What a conversion left.

    Attributes:
        cases: what was written.
        patients: patient of each case.
        counts: for each case, voxels by value before and after.
        skipped: cases whose masks hold no canal, and scans without labels where teeth are cut out.
    """

    cases: list[FoundCase] = field(default_factory=list)
    patients: dict[str, str] = field(default_factory=dict)
    counts: dict[str, dict[str, dict[int, int]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the manifest was written, 2 when the input is refused."""
    options = _parser().parse_args(arguments)
    try:
        convert(options)
    except MedsemiError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def convert(options: argparse.Namespace) -> Manifest:
    """Convert all scans of a folder, saying for each what was written.

    Args:
        options: the parsed command line.

    Returns:
        The manifest that was written.

    Raises:
        MedsemiError: the source or an option cannot be used.
    """
    scans = FINDERS[options.layout](options.source)
    patients = _patients([scan.case_id for scan in scans], options)
    _refuse_before_converting(scans, patients, options)
    outcome = Outcome()
    for number, scan in enumerate(scans, 1):
        print(f"{number}/{len(scans)} {scan.case_id}")
        for case in _cases(scan, options, outcome):
            _keep(case, options.output, patients[case.scan], outcome)
    if outcome.skipped:
        print(f"skipped, without any canal: {', '.join(outcome.skipped)}")
    _write_counts(options.output / "conversion.json", outcome)
    manifest = save_manifest(_document(options, outcome), options.output / "manifest.json")
    print(f"{len(outcome.cases)} cases written to {options.output}, each read back and compared.")
    return manifest


def _refuse_before_converting(
    scans: Sequence[ScanFiles], patients: dict[str, str], options: argparse.Namespace
) -> None:
    """What would cost hours, a split or the originals."""
    manifest = options.output / "manifest.json"
    if manifest.exists() and not options.overwrite:
        raise DataError(f"{manifest}: exists already; choose another output or add --overwrite.")
    written = {(options.output / name).resolve() for name in ("images", "labels")}
    for path in (path for scan in scans for path in (scan.image, scan.label) if path is not None):
        if path.resolve().parent in written:
            raise DataError(
                f"{path}: the conversion would write over its source; choose another output."
            )
    try:
        _deal(scans, patients, options)
    except ManifestError as error:
        raise DataError(f"{options.source}: {error}") from error


def _deal(
    scans: Sequence[ScanFiles], patients: dict[str, str], options: argparse.Namespace
) -> None:
    """Deal the patients as the manifest will, to see whether it can be done."""
    masked = {patients[scan.case_id] for scan in scans if scan.label is not None}
    unmasked = {patients[scan.case_id] for scan in scans if scan.label is None}
    # Where teeth are cut out, scans without masks leave no case.
    others = () if options.layout == "toothfairy" else unmasked
    split_patients(masked, others, _counts(options), options.seed)


def _counts(options: argparse.Namespace) -> SplitCounts:
    return SplitCounts(options.labeled, options.validation, options.test)


def _patients(case_ids: list[str], options: argparse.Namespace) -> dict[str, str]:
    if options.patient_regex is not None:
        return patients_by_expression(case_ids, options.patient_regex)
    # A scan of a challenge is a patient; the names of other scans may say otherwise.
    is_certain = options.one_case_per_patient or options.layout != "folder"
    return patients_by_case(case_ids, is_certain)


def _cases(scan: ScanFiles, options: argparse.Namespace, outcome: Outcome) -> Iterator[CanalCase]:
    if options.layout == "toothfairy" and scan.label is None:
        outcome.skipped.append(scan.case_id)
        return
    image, label, affine = read_scan(scan, read, options.spacing)
    if options.layout == "toothfairy":
        assert label is not None
        yield from first_molars(scan, image, label, affine, options.teeth, options.margin)
    else:
        canal = options.canal or CANAL[options.layout]
        yield from whole_scan(scan, image, label, affine, canal)


def read(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a volume file, or the one series of a folder of DICOM slices.

    Args:
        path: the file or folder.

    Returns:
        Voxels and affine, in NIfTI's axes.

    Raises:
        DataError: it cannot be read, or the folder holds none or several series.
    """
    if not path.is_dir():
        return read_volume(path)
    from medsemi.prediction.codes import CaseRefused
    from medsemi.prediction.discovery.scan import discover
    from medsemi.prediction.options import Options
    from medsemi.prediction.reading import volume as dicom

    cases = [case for case in discover([path], Options(series="all")).cases if case.source.slices]
    usable = [case for case in cases if case.outcome == "predict" and case.grid is not None]
    if len(usable) != 1:
        codes = sorted({code for case in cases for code in case.codes})
        raise DataError(
            f"{path}: {len(usable)} usable series of {len(cases)} ({', '.join(codes) or 'none'});"
            " leave one complete series in the folder."
        )
    try:
        values = dicom.read_volume(usable[0]).values
    except CaseRefused as error:
        raise DataError(f"{path}: {error}") from error
    assert usable[0].grid is not None
    return np.asarray(values), usable[0].grid.affine_ras


def _keep(case: CanalCase, folder: Path, patient: str, outcome: Outcome) -> None:
    if case.label is not None and not case.label.any():
        outcome.skipped.append(case.case_id)
        return
    write_case(case, folder)
    name = f"{case.case_id}.nii.gz"
    label = None if case.label is None else Path("labels", name)
    outcome.cases.append(FoundCase(case.case_id, Path("images", name), label))
    outcome.patients[case.case_id] = patient
    after = voxel_counts(case.label)
    outcome.counts[case.case_id] = {"before": dict(case.before), "after": after}
    shape = " x ".join(map(str, case.image.shape))
    print(f"  {case.case_id}: {shape}, canal {after.get(1, 0)} voxels")


def _write_counts(path: Path, outcome: Outcome) -> None:
    content = {"voxels": outcome.counts, "skipped": outcome.skipped}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _document(options: argparse.Namespace, outcome: Outcome) -> dict[str, Any]:
    canal = sum(case["after"].get(1, 0) for case in outcome.counts.values())
    document: dict[str, Any] = {
        "name": f"root_canal_{options.layout}_{options.labeled}_labeled",
        "description": f"{len(outcome.cases)} cases, {canal} voxels of root canal; voxels of each"
        " value before and after the conversion are in conversion.json.",
        "source": SOURCES[options.layout],
        "terms": "Those of the source, see docs/data_root_canal.md.",
        "protocol": f"Patients dealt by scripts/convert_cbct.py with seed {options.seed}.",
        "classes": {"0": "background", "1": "root canal"},
    }
    return document | split_cases(outcome.cases, outcome.patients, _counts(options), options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Convert dental cone-beam scans to NIfTI with the class root canal.",
        epilog="Nothing is resampled; a header without a plausible spacing is refused.",
    )
    add = parser.add_argument
    add("layout", choices=sorted(FINDERS), help="how the source is arranged")
    add("source", type=Path, help="folder as downloaded")
    add("output", type=Path, help="gets images/, labels/, manifest.json and conversion.json")
    add("--labeled", type=int, required=True, help="patients trained on with labels")
    add("--validation", type=int, default=0, help="patients to choose settings on (%(default)s)")
    add("--test", type=int, default=0, help="patients that training never opens (%(default)s)")
    add("--seed", type=int, default=0, help="another seed, another split (%(default)s)")
    add("--spacing", type=float, help="voxel edge in mm, for files that lost theirs only")
    add("--canal", type=int, nargs="+", help="mask values that are canal (sts 2, folder 1)")
    add("--teeth", type=int, nargs="+", default=FIRST_MOLARS, help="toothfairy: FDI numbers")
    add("--margin", type=float, default=4.0, help="toothfairy: mm around a tooth (%(default)s)")
    add("--overwrite", action="store_true", help="replace the manifest if there is one")
    patient = parser.add_mutually_exclusive_group()
    patient.add_argument("--patient-regex", help="its first group, in the scan's name")
    patient.add_argument(
        "--one-case-per-patient", action="store_true", help="folder: names may look alike"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
