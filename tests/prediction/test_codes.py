"""Sentences of codes: the words follow the numbers."""

from __future__ import annotations

import pytest

from medsemi.prediction.codes import CODES, Finding


@pytest.mark.parametrize(
    ("code", "values", "sentence"),
    [
        ("R01", {"k": 1, "after": "10"}, "1 slice is missing after slice 10."),
        ("R01", {"k": 2, "after": "10"}, "2 slices are missing after slice 10."),
        (
            "R06",
            {"k": 1, "where": "volume 2 of 4"},
            "Incomplete: 1 image is missing from volume 2 of 4.",
        ),
        (
            "R06",
            {"k": 50, "where": "a series of 4 volumes"},
            "Incomplete: 50 images are missing from a series of 4 volumes.",
        ),
        ("W07", {"n": 1}, "Only 1 slice (fewer than 10)."),
        ("W02", {"n": 1}, "1 identical copy left out."),
        (
            "W03",
            {"n": 1},
            "1 image of another kind, size or frame left out of this stack. Check whether the whole organ is covered.",
        ),
        ("W05", {"k": 1, "after": "3"}, "1 missing slice was interpolated."),
        ("W14", {"n": 1}, "1 voxel is not finite; replaced."),
        ("W14", {"n": 3}, "3 voxels are not finite; replaced."),
    ],
)
def test_one_is_no_plural(code: str, values: dict[str, object], sentence: str) -> None:
    assert Finding(code, values).text.startswith(sentence)


def test_a_table_shows_the_plural() -> None:
    assert CODES["R01"].general[0] == "… slices are missing after slice …."
    assert not [code for code, text in CODES.items() if "{" in "".join(text.general)]
