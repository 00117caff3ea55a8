"""Files made to crash, hang or fill the memory: each ends in a case or is ignored."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsemi.prediction.case import CLASSES
from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.scan import Scan, discover
from medsemi.prediction.discovery.stacks import are_overview, split_stacks
from medsemi.prediction.options import Options

SEEDS = ("ct_tiny_volume", "mr_enhanced_hyperfine", "ct_legacy_enhanced", "broken", "not_image_sr")
OUTCOMES = {"predict", "skip", "refuse"}


def look(path: Path) -> Scan:
    scan = discover([path], Options(workers=1))
    for case in scan.cases:
        assert case.category in CLASSES
        assert case.outcome in OUTCOMES
        assert case.outcome == "predict" or case.codes
        assert all(finding.text for finding in case.findings)
        if case.outcome == "predict":
            assert case.grid is not None
            assert np.isfinite(case.grid.affine).all()
            assert case.grid.voxel_mm3 > 0
    return scan


def explicit(group: int, element: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", group, element, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UN"}:
        return head + struct.pack("<HL", 0, size) + value
    return head + struct.pack("<H", size) + value


def part_ten(dataset: bytes, syntax: bytes = b"1.2.840.10008.1.2.1") -> bytes:
    syntax += b"\0" * (len(syntax) % 2)
    meta = explicit(2, 0x10, b"UI", syntax)
    return (
        bytes(128) + b"DICM" + explicit(2, 0, b"UL", struct.pack("<L", len(meta))) + meta + dataset
    )


CT_CLASS = explicit(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")


@pytest.mark.parametrize("depth", [200, 2_000, 20_000])
def test_deeply_nested_sequences(depth: int, tmp_path: Path) -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    nested = (explicit(8, 0x1140, b"SQ", b"", 0xFFFFFFFF) + item) * depth
    path = tmp_path / "nested.dcm"
    path.write_bytes(part_ten(CT_CLASS + nested))
    (case,) = look(path).cases
    assert case.codes == ("U01",)


def test_a_claimed_length_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.dcm"
    path.write_bytes(part_ten(CT_CLASS + explicit(9, 1, b"OB", b"xx", 0xFFFFFFF0)))
    tracemalloc.start()
    (case,) = look(path).cases
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert case.codes == ("U01",)
    assert peak < 20e6


def test_a_deflated_bomb_is_not_inflated_whole(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    stream = io.BytesIO(packer.compress(CT_CLASS + explicit(9, 1, b"OB", b"", 1 << 28)))
    stream.seek(0, io.SEEK_END)
    for _ in range(1 << 8):
        stream.write(packer.compress(bytes(1 << 20)))
    stream.write(packer.flush())
    path = tmp_path / "bomb.dcm"
    path.write_bytes(part_ten(stream.getvalue(), b"1.2.840.10008.1.2.1.99"))
    tracemalloc.start()
    (case,) = look(path).cases
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert case.codes == ("U01",)
    assert peak < 150e6  # it holds 256 MiB


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"ImagePositionPatient": None}, "S07"),
        ({"PixelSpacing": [0, 1]}, "S07"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "S07"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "S07"),
        ({"ImagePositionPatient": [0, 0, 1e30]}, "S07"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "S07"),
        ({"Rows": 0}, "U01"),
        ({"PixelData": None}, "U01"),
        ({"SOPClassUID": None}, "U01"),
        ({"Rows": 65535, "Columns": 65535}, "R07"),
        ({"NumberOfFrames": "999999999"}, "S07"),
        ({"NumberOfFrames": "-5"}, "S05"),
    ],
)
def test_nonsense_in_a_header_has_a_code(
    elements: dict[str, Any], code: str, write_image: Callable[..., Path]
) -> None:
    (case,) = look(write_image("image.dcm", **elements)).cases
    assert code in case.codes


def test_not_a_number_is_no_position(write_image: Callable[..., Path]) -> None:
    path = write_image("image.dcm", ImagePositionPatient=["1.5", "2.5", "3.5"])
    path.write_bytes(path.read_bytes().replace(b"1.5\\2.5\\3.5", b"nan\\inf\\3.5"))
    (case,) = look(path).cases
    assert case.codes == ("S07",)


def test_hidden_folders_and_circles_of_links_are_passed_over(
    write_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = write_image("in/image.dcm")
    write_image("in/.hidden/other.dcm")
    (tmp_path / "in" / "another.dcm").symlink_to(image)
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    scan = look(tmp_path / "in")
    assert {name for name, _ in scan.ignored} == {".hidden"}
    assert {case.source.name: case.codes for case in scan.cases} == {
        "image.dcm": ("S05",),
        "loop": ("S13",),
    }


def test_what_cannot_be_opened_is_told(
    write_image: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image("closed/image")
    write_image("locked")
    scandir, opening = os.scandir, Path.open

    def refuse_folder(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_file(self: Path, mode: str = "r") -> Any:
        if self.name == "locked":
            raise PermissionError(13, "Permission denied", str(self))
        return opening(self, mode)

    monkeypatch.setattr(os, "scandir", refuse_folder)
    monkeypatch.setattr(Path, "open", refuse_file)
    found = {case.source.name: case.codes for case in look(tmp_path).cases}
    assert found == {"closed": ("U01",), "locked": ("U01",)}


def test_many_directions_in_one_series_are_quickly_sorted() -> None:
    turns = np.linspace(0, np.pi, 4000)
    frames = [
        Frame(
            Path(f"{i}"),
            0,
            f"{i}",
            (4, 4),
            place=Place((0, 0, 0), (1, 0, 0, 0, np.cos(a), np.sin(a)), (1, 1)),
        )
        for i, a in enumerate(turns)
    ]
    start = time.perf_counter()
    stacks = split_stacks(frames)
    assert not are_overview(stacks)
    assert 330 < len(stacks) < 361
    assert time.perf_counter() - start < 10


def mutate(data: bytes, draw: np.random.Generator) -> bytes:
    """Cut, flip, swap, repeat or overwrite with large numbers, near the start more often."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 6))):
        reach = min(len(changed), 4096 if draw.random() < 0.7 else len(changed))
        if reach < 16:
            break
        at = int(draw.integers(0, reach - 8))
        match int(draw.integers(5)):
            case 0:
                del changed[max(at, 140) :]
            case 1:
                changed[at] ^= 1 << int(draw.integers(8))
            case 2:
                changed[at : at + 2], changed[at + 2 : at + 4] = (
                    changed[at + 2 : at + 4],
                    changed[at : at + 2],
                )
            case 3:
                changed[at:at] = changed[at : at + int(draw.integers(1, 200))]
            case _:
                changed[at : at + 4] = bytes([0xFF] * 4)
    return bytes(changed)


def mutants(samples: Path, count: int, folder: Path) -> None:
    """Look at so many damaged copies of real files."""
    sources = [
        path
        for name in (*SEEDS, "nifti")
        for path in sorted((samples / name).iterdir())
        if path.stat().st_size < 400_000
    ]
    draw = np.random.default_rng(20)
    slowest = 0.0
    for number in range(count):
        source = sources[number % len(sources)]
        path = folder / f"{number % 50}_{source.name.lstrip('.')}"
        path.write_bytes(mutate(source.read_bytes(), draw))
        start = time.perf_counter()
        look(path)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 10


def test_damaged_files_end_in_a_case(samples: Path, tmp_path: Path) -> None:
    mutants(samples, 400, tmp_path)


@pytest.mark.slow
def test_many_damaged_files_end_in_a_case(samples: Path, tmp_path: Path) -> None:
    mutants(samples, 20_000, tmp_path)


def test_damaged_nifti_headers(samples: Path, tmp_path: Path) -> None:
    """Every field of the header, with what it should not be."""
    good = (samples / "nifti" / "uncompressed.nii").read_bytes()
    path = tmp_path / "image.nii"
    for at in range(0, 348, 4):
        for wrong in (b"\xff\x7f", bytes([0xFF] * 4), bytes(4), struct.pack("<f", np.nan)):
            path.write_bytes(good[:at] + wrong + good[at + len(wrong) :])
            look(path)
