"""Convert the cardiac scans of ACDC in the field's HDF5 form to NIfTI, read back and compared.

    python scripts/convert_cardiac.py ACDC/data data/cardiac
    python scripts/convert_cardiac.py ACDC/data data/cardiac_mini --longest-side 128 --spacing 2.8 10

The source holds slices (patient041_frame01_slice_6.h5), volumes (patient078_frame01.h5), or both. The
second command makes the reduced slices of the tables in docs/recipe.md and benchmarks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from medsemi.data.cardiac import convert_scan, find_scans
from medsemi.errors import DataError, MedsemiError


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
    """Convert all volumes of a folder, saying for each what was written.

    Args:
        options: the parsed command line.

    Raises:
        DataError: the source or an option cannot be used.
    """
    if not options.source.is_dir():
        raise DataError(f"{options.source}: no such folder; check the path.")
    pixel, distance = options.spacing
    if min(pixel, distance) <= 0:
        raise DataError("--spacing: give two lengths above 0, in mm.")
    if options.longest_side is not None and options.longest_side < 1:
        raise DataError("--longest-side: give a number of pixels above 0, such as 128.")
    scans = find_scans(options.source)
    print(
        f"Pixels of {pixel:g} mm and slices {distance:g} mm apart by assumption: the HDF5 files hold"
        " neither. Origin and orientation are lost, so the axes have no anatomical meaning."
    )
    for number, (case_id, paths) in enumerate(scans.items(), 1):
        shape = convert_scan(
            paths, case_id, options.output, (pixel, distance), options.longest_side
        )
        kind = f"{len(paths)} slice files" if "_slice_" in paths[0].name else "one file"
        print(f"{number}/{len(scans)} {case_id}: {' x '.join(map(str, shape))} from {kind}")
    print(f"{len(scans)} volumes written to {options.output}, each read back and compared.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Convert cardiac scans (ACDC, HDF5) to NIfTI.",
        epilog="Distances in mm on these files are nominal; report them in voxels.",
    )
    add = parser.add_argument
    add("source", type=Path, help="folder with patientXXX_frameYY[_slice_N].h5, at any depth")
    add("output", type=Path, help="gets images/<case>.nii.gz and labels/<case>.nii.gz")
    add(
        "--spacing", type=float, nargs=2, default=(1.0, 10.0), metavar=("PIXEL", "DISTANCE"),
        help="edge of the written pixels and slice distance in mm, the same for all volumes"
        " (1 and 10, as in the field's result files)",
    )  # fmt: skip
    add(
        "--longest-side", type=int, metavar="PIXELS",
        help="reduce slices whose longest side has more pixels than that, image by area and label by"
        " the class that covers most; no slice is enlarged (left as they are)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
