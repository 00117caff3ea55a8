"""The fields of a header's text, and where the voxels begin after it."""

from __future__ import annotations

import pytest

from medsemi.prediction.discovery.itk_text import meta_image_fields, nrrd_fields


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_fields_of_nrrd(line: bytes) -> None:
    lines = [b"NRRD0005", b"# spacing: 3", b"Type: short", b"note:= sizes: 9", b"sizes: 4 5 6", b""]
    start = line.join(lines) + line + b"voxels: 1"
    fields, end = nrrd_fields(start)
    assert fields == {"type": "short", "sizes": "4 5 6"}
    assert end is not None
    assert start[end:] == b"voxels: 1"


def test_nrrd_without_a_blank_line_has_no_end() -> None:
    assert nrrd_fields(b"NRRD0005\ntype: short\n") == ({"type": "short"}, None)


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
def test_fields_of_meta_image(line: bytes) -> None:
    start = (
        line.join([b"NDims = 3", b"DimSize=4 5 6", b"ElementDataFile = LOCAL"]) + line + b"a = b"
    )
    fields, end = meta_image_fields(start)
    assert fields == {"NDims": "3", "DimSize": "4 5 6", "ElementDataFile": "LOCAL"}
    assert start[end:] == b"a = b"


def test_meta_image_without_its_last_field_is_refused() -> None:
    with pytest.raises(ValueError, match="subsection not found"):
        meta_image_fields(b"NDims = 3\nDimSize = 4 5 6\n")
