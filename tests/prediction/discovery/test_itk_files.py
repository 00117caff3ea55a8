"""NRRD and MetaImage: placed as ITK places them, or refused where ITK would have to guess."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medsemi.prediction.case import Case
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options

Find = Callable[..., list[Case]]
TURN = np.array([[0.0, -1.0, 0.0], [0.8, 0.0, -0.6], [0.6, 0.0, 0.8]])


def write(path: Path, compressed: bool = False, shape: tuple[int, ...] = (12, 5, 7)) -> Path:
    image = SimpleITK.GetImageFromArray(np.arange(np.prod(shape), dtype=np.int16).reshape(shape))
    image.SetSpacing((0.5, 0.7, 2.0))
    image.SetOrigin((-10.0, 20.0, 30.5))
    image.SetDirection(TURN.ravel().tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


def edit(path: Path, old: str, new: str) -> Path:
    """Replace a line of the header, which comes before the voxels."""
    data = path.read_bytes()
    changed, count = re.subn(old.encode(), new.encode(), data, count=1)
    assert count == 1
    path.write_bytes(changed)
    return path


@pytest.mark.parametrize("name", ["x.nrrd", "x.nhdr", "x.mha", "x.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_lies_where_itk_puts_it(
    name: str, compressed: bool, tmp_path: Path, cases_of: Find
) -> None:
    path = write(tmp_path / name, compressed)
    image = SimpleITK.ReadImage(str(path))
    scan = discover([tmp_path], Options())
    (case,) = scan.cases
    assert (case.category, case.outcome, case.codes) == ("volume", "predict", ("W07",))
    assert case.source.kind == ("nrrd" if "nr" in name or "nh" in name else "mha")
    assert case.case_id == "x"
    assert case.grid is not None
    assert case.grid.shape == image.GetSize()
    for index in ((0, 0, 0), (6, 4, 11), (3, 0, 7)):
        there = image.TransformIndexToPhysicalPoint(index)
        assert (case.grid.affine @ [*index, 1])[:3] == pytest.approx(there, abs=1e-4)
    # The voxels of a header of its own are no image by themselves.
    assert len(scan.ignored) == (name in {"x.nhdr", "x.mhd"})
    beside = next((ignored for ignored, _ in scan.ignored), None)
    assert case.source.data == (beside and tmp_path / beside)
    assert case.source.files == 1 + len(scan.ignored)


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("x.nrrd", r"space: [^\n]*", "space: scanner-xyz", "R10"),
        ("x.nrrd", r"space directions: [^\n]*", "spacings: 1 1 1", "R10"),
        ("x.nrrd", r"space: [^\n]*", "space: right-anterior-superior", ""),
        ("x.nrrd", r"sizes: 7 5 12", "sizes: 7 5 99", "R07"),
        ("x.nrrd", r"type: short", "type: nonsense", "U01"),
        ("x.nrrd", r"space origin: [^\n]*", "space origin: (nan,0,0)", "R10"),
        ("x.nrrd", r"\(0.*?,", "(0.9,", "R10"),
        ("x.mha", r"TransformMatrix = [^\n]*", "Comment = none", "R10"),
        ("x.mha", r"DimSize = 7 5 12", "DimSize = 7 5 99", "R07"),
        ("x.mha", r"DimSize = 7 5 12", "DimSize = 0 5 12", "U01"),
        ("x.mha", r"ElementSpacing = [^\n]*", "ElementSpacing = 0.5 0.7", "R10"),
        ("x.mhd", r"ElementDataFile = [^\n]*", "ElementDataFile = ../x.raw", "U01"),
        ("x.mhd", r"ElementDataFile = [^\n]*", "ElementDataFile = absent.raw", "U01"),
    ],
)
def test_what_itk_would_guess_is_refused(
    name: str, old: str, new: str, code: str, tmp_path: Path, cases_of: Find
) -> None:
    (case,) = cases_of(edit(write(tmp_path / name), old, new))
    assert case.outcome == ("refuse" if code else "predict"), case.findings
    assert not code or code in case.codes


def test_right_anterior_superior_is_turned(tmp_path: Path, cases_of: Find) -> None:
    (lps,) = cases_of(write(tmp_path / "a.nrrd"))
    (ras,) = cases_of(
        edit(write(tmp_path / "b.nrrd"), r"space: [^\n]*", "space: right-anterior-superior")
    )
    assert lps.grid is not None
    assert ras.grid is not None
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ lps.grid.affine, ras.grid.affine)


def test_colors_and_single_slices(tmp_path: Path, cases_of: Find) -> None:
    color = SimpleITK.GetImageFromArray(np.zeros((12, 5, 7, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(color, str(tmp_path / "color.nrrd"))
    write(tmp_path / "one.mha", shape=(1, 5, 7))
    found = {case.case_id: case for case in cases_of(tmp_path)}
    assert "R08" in found["color"].codes
    assert found["one"].codes == ("S05",)


def test_a_text_that_claims_to_be_a_volume(tmp_path: Path, cases_of: Find) -> None:
    for name in ("x.nrrd", "x.mha"):
        (tmp_path / name).write_text("ObjectType = Image\nNDims = 3\n")
    assert [case.codes for case in cases_of(tmp_path)] == [("U01",), ("U01",)]


def test_what_is_slow_is_imported_only_where_it_is_needed(samples: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from medsemi.prediction.discovery.scan import discover\n"
        "from medsemi.prediction.options import Options\n"
        "discover([Path(sys.argv[1])], Options())\n"
        "print(*({'torch', 'monai', 'SimpleITK', 'highdicom'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(samples / "ct_tiny_volume")]
    assert subprocess.run(command, check=True, capture_output=True).stdout.strip() == b""
