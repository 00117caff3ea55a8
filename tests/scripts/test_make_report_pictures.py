"""The command that makes the pictures of the report, started as a user starts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PICTURES = {"report_desk.png": 1280, "report_tablet.png": 820, "report_print.png": 800}


def check(folder: Path) -> None:
    for name, width in PICTURES.items():
        assert (folder / name).stat().st_size < 300_000
        with Image.open(folder / name) as picture:
            assert picture.width == width
            least, most = picture.convert("L").getextrema()
        assert most - least > 200


def test_the_pictures_of_the_documents_are_small(repository: Path) -> None:
    check(repository / "docs" / "pictures")


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    reason="no Chromium here",
)
def test_the_pictures_are_made_anew(repository: Path, tmp_path: Path) -> None:
    script = repository / "scripts" / "make_report_pictures.py"
    results = tmp_path / "results"
    subprocess.run(
        [sys.executable, str(script), str(tmp_path), "--results", str(results)], check=True
    )
    check(tmp_path)
    assert (results / "report.html").stat().st_size < 3_000_000
    assert len(list((results / "cases").iterdir())) == 8
