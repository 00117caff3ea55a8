"""How much space results take, and when a disk is full."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from medsemi.prediction.case import Case, Grid, Source
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.disk import check_space, is_disk_full, needed_bytes, reserve
from medsemi.prediction.model import Label, Model
from medsemi.prediction.options import Options

SOURCE = Source("nifti", "", Path("a"), "a", 1)
CASE = Case("k", "c", "volume", (), "predict", (), SOURCE, Grid((512, 512, 300), np.eye(4)))


def model(labels: int) -> Model:
    return Model(Path(), "", "", "", (), tuple(Label(n, str(n)) for n in range(1, labels + 1)))


def test_space_grows_with_what_is_written() -> None:
    least = needed_bytes([CASE], model(1), Options(outputs=("volumes",)))
    usual = needed_bytes([CASE], model(1), Options())
    many = needed_bytes([CASE], model(20), Options())
    everything = needed_bytes([CASE], model(20), Options(outputs=("nifti", "probabilities")))
    assert least < usual < many < everything
    # A label map of this size, written, was 0.6 MB, its binary SEG 9.8 MB; never far too much.
    assert 10e6 < usual < 100e6
    # float16 of 21 classes, compressed not at all.
    assert everything > 512 * 512 * 300 * 2 * 21
    assert needed_bytes([CASE] * 10, model(1), Options()) > 5 * usual


def test_a_disk_with_too_little_space(tmp_path: Path) -> None:
    check_space(tmp_path, 1000)
    with pytest.raises(RunStopped, match=r"up to 1000000000.0 GB are needed"):
        check_space(tmp_path, 10**18)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_is_seen_through_other_exceptions(number: int) -> None:
    full = OSError(number, "full")
    wrapped, met = ValueError(), KeyError()
    wrapped.__cause__, met.__context__ = full, wrapped
    assert all(map(is_disk_full, (full, wrapped, met)))
    assert not is_disk_full(OSError(errno.EIO, "broken"))
    assert not is_disk_full(ValueError())


def test_a_little_is_reserved(tmp_path: Path) -> None:
    reserve(tmp_path / "reserve")
    assert (tmp_path / "reserve").stat().st_size >= 4096


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "E04 Disk full"), (errno.EROFS, "E15 Output folder")]
)
def test_where_nothing_can_be_reserved_the_run_stops(
    number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(number, "told by the system")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(RunStopped, match=said) as stop:
        reserve(tmp_path / "reserve")
    assert stop.value.exit_code == 4
    assert not list(tmp_path.iterdir())
