"""Convert the left-atrium scans of the 2018 challenge to NIfTI, read back and compared.

    python scripts/convert_left_atrium.py "2018LA_Seg_Training Set" data/left_atrium

The source holds <ID>/mri_norm2.h5 (the files that the field exchanges) or the original
<ID>/lgemri.nrrd with <ID>/laendo.nrrd.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from medsemi.data.left_atrium import H5_NAME, convert_scan, find_scans
from medsemi.errors import DataError, MedsemiError

_PUBLISHED_SPACING = 0.625


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all scans were converted, 2 when the input is refused."""
    options = _parser().parse_args(arguments)
    try:
        convert(options)
    except MedsemiError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def convert(options: argparse.Namespace) -> None:
    """Convert all scans of a folder, saying for each what was written.

    Args:
        options: the parsed command line.

    Raises:
        DataError: the source or an option cannot be used.
    """
    if not options.source.is_dir():
        raise DataError(f"{options.source}: no such folder; check the path.")
    scans = find_scans(options.source)
    is_h5 = next(iter(scans.values())).name == H5_NAME
    if options.spacing is not None and not (is_h5 and options.spacing > 0):
        raise DataError("--spacing: must be positive, and NRRD files have their own; leave it out.")
    spacing = options.spacing or _PUBLISHED_SPACING
    print(_announcement(is_h5, spacing, options.seed))
    half = options.downsample == 2
    for number, (case_id, path) in enumerate(scans.items(), 1):
        scan = convert_scan(path, case_id, options.output, spacing, options.seed, half=half)
        shape = " x ".join(map(str, scan.image.shape))
        print(f"{number}/{len(scans)} {case_id}: {shape}, atrium {scan.label.mean():.1%}")
    print(f"{len(scans)} scans written to {options.output}, each read back and compared.")


def _announcement(is_h5: bool, spacing: float, seed: int) -> str:
    if is_h5:
        return (
            f"Spacing {spacing:g} mm by assumption: the HDF5 files hold none. Origin and"
            " orientation are lost, so the axes have no anatomical meaning."
        )
    return (
        "Spacing and orientation from the NRRD headers. Each scan is cropped around its own label"
        f" with random margins (seed {seed}), as published."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Convert left-atrium scans (HDF5 or NRRD) to NIfTI.",
        epilog="Test scans are cropped with their own labels, too: say so beside every score.",
    )
    add = parser.add_argument
    add("source", type=Path, help="folder with <ID>/mri_norm2.h5 or <ID>/lgemri.nrrd")
    add("output", type=Path, help="gets images/<ID>.nii.gz and labels/<ID>.nii.gz")
    add("--spacing", type=float, help="voxel edge in mm of HDF5 files (0.625)")
    add("--downsample", type=int, choices=(1, 2), default=1, help="2 halves the resolution")
    add("--seed", type=int, default=0, help="of the crop margins of NRRD files (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
