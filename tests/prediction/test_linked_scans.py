"""A data set of links gives the results of its files, and nothing is written through a link."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.prediction.console import Silent
from medsemi.prediction.options import Options
from medsemi.prediction.run import predict

REAL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("real_run.py"))))


@pytest.fixture
def store(shared: Path, tmp_path: Path) -> Path:
    """A series and a volume, read-only and under names that say nothing."""
    folder = tmp_path / "store"
    folder.mkdir()
    samples = shared / "data" / "dicom"
    files = [*sorted((samples / "ct_tiny_volume").iterdir()), samples / "nifti" / "good.nii.gz"]
    for number, file in enumerate(path for path in files if path.is_file()):
        name = f"key{number}{''.join(file.suffixes) if 'nii' in file.name else ''}"
        (folder / name).write_bytes(file.read_bytes())
        (folder / name).chmod(0o444)
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int, int, bool]]:
    return {
        path.name: (
            path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            path.is_symlink(),
        )
        for path in sorted(folder.iterdir())
    }


def test_results_are_those_of_the_files_and_these_stay_as_they_are(
    store: Path, tmp_path: Path
) -> None:
    model = REAL.write_model(tmp_path / "bundle")
    linked, copied = tmp_path / "linked", tmp_path / "copied"
    shutil.copytree(store, copied)
    linked.mkdir()
    for file in store.iterdir():
        (linked / file.name).symlink_to(Path("..") / "store" / file.name)
    before = state(store), state(linked)
    options = Options(device="cpu", outputs=("nifti", "seg", "volumes"))
    for inputs in (linked, copied):
        out = tmp_path / f"out_{inputs.name}"
        assert predict([inputs], model, out, options, Silent()) == 0
    assert (state(store), state(linked)) == before
    results = [
        {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted((out / "cases").glob("*/*"))
            if path.name != "case.json"
        }
        for out in (tmp_path / "out_linked", tmp_path / "out_copied")
    ]
    assert len(results[0]) > 4
    assert results[0] == results[1]
    assert not [path for path in (tmp_path / "out_linked").rglob("*") if path.is_symlink()]
