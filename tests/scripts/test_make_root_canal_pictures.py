"""The picture shows what the phantom is."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from PIL import Image

from medsemi.data.root_canal_phantom import make_root_canal_phantom


def test_a_panel_shows_the_label_and_its_shadow(repository: Path) -> None:
    pictures = runpy.run_path(str(repository / "scripts" / "make_root_canal_pictures.py"))
    phantom = make_root_canal_phantom(0, shape=(40, 38, 48), spacing=(0.4, 0.4, 0.4), neighbors=0)
    panel = pictures["panel"](phantom)
    gap = pictures["GAP"]
    # The first square is a slice across and has the height of y.
    assert panel.shape == (48, 4 * (40 + gap), 3)
    colored = (panel == pictures["CANAL"]).all(axis=2)
    assert colored.any()
    assert not colored[:, : 2 * (40 + gap)].any()
    shadow = panel[:, 3 * (40 + gap) : 3 * (40 + gap) + 40, 0] > 0
    np.testing.assert_array_equal(shadow, phantom.label.any(axis=1).T[::-1])


def test_the_picture_in_the_documents_is_small(repository: Path) -> None:
    path = repository / "docs" / "pictures" / "root_canal_phantoms.png"
    assert path.stat().st_size < 400_000
    with Image.open(path) as picture:
        assert picture.width > 2000
