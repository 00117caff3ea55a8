"""Slice-wise inference: the published numbers, and windows of each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import zoom
from torch import Tensor

from medsemi.data.stretching import nearest_indices
from medsemi.errors import ConfigError
from medsemi.evaluation.metrics import score_case
from medsemi.evaluation.protocol import WindowInference, labels_from
from medsemi.evaluation.slice_protocol import SliceWindowInference, StretchedSliceInference

CLASSES = {0: "background", 1: "RV", 2: "MYO", 3: "LV"}


def formula(x: Tensor) -> Tensor:
    """The fixed network that the published numbers were made with; x (batch, 1, 32, 32)."""
    i = torch.arange(x.shape[2], dtype=torch.float32)[:, None]
    j = torch.arange(x.shape[3], dtype=torch.float32)[None]
    x = x[:, 0]
    scores = (
        torch.full_like(x, 0.6),
        x + 0.2 * torch.sin(0.4 * i),
        1.2 * x - 0.1 * torch.cos(0.3 * j),
        x**2 + 0.05 * torch.sin(0.2 * (i + j)),
    )
    return torch.stack(scores, dim=1)


def test_labels_and_scores_are_the_published_ones(golden: Path) -> None:
    stored = np.load(golden / "acdc_slice_inference.npz")
    # Stored as (slice, row, column); ours has slices last.
    volume = torch.from_numpy(stored["volume"].astype(np.float32)).movedim(0, -1)[None, None]
    labels = labels_from(StretchedSliceInference((32, 32), slices_per_batch=2)(volume, formula))
    prediction = labels[0].movedim(-1, 0).numpy()
    np.testing.assert_array_equal(prediction, stored["prediction"])
    scores = score_case(prediction, stored["label"], CLASSES, (1.0, 1.0, 1.0))
    for name, (dice, hd95) in zip(("RV", "MYO"), stored["dice_hd95"][:2], strict=True):
        assert scores[name].dice == pytest.approx(dice, abs=1e-9)
        assert scores[name].hd95_voxel == pytest.approx(hd95, abs=1e-9)
    # The published code counts a class that was missed with distance 0; here it is the diagonal.
    assert tuple(stored["dice_hd95"][2]) == (0, 0)
    assert scores["LV"].missed
    assert scores["LV"].hd95_voxel == pytest.approx(np.linalg.norm(prediction.shape))


@pytest.mark.parametrize(("length", "size"), [(154, 256), (216, 256), (37, 32), (1, 8), (90, 90)])
def test_nearest_neighbors_are_those_of_scipy(length: int, size: int) -> None:
    axis = np.arange(1, length + 1)
    np.testing.assert_array_equal(
        axis[nearest_indices(length, size)], zoom(axis, size / length, order=0)
    )


def test_nearest_neighbors_do_not_fall_off_the_end() -> None:
    axis = np.arange(1, 257)
    assert zoom(axis, 32 / 256, order=0)[-1] == 0  # what rounding does to the published code
    assert axis[nearest_indices(256, 32)][-1] == 256


def test_slices_are_segmented_one_by_one() -> None:
    volume = torch.rand((2, 1, 13, 20, 3), generator=torch.Generator().manual_seed(0))
    settings = {"window": (8, 16), "stride": (4, 8), "weighting": "gaussian"}
    whole = SliceWindowInference(**settings)(volume, formula)
    assert whole.shape == (2, 4, 13, 20, 3)
    alone = WindowInference(**settings)
    for case in range(2):
        for index in range(3):
            expected = alone(volume[case : case + 1, ..., index], formula)
            torch.testing.assert_close(whole[case : case + 1, ..., index], expected)


def test_slices_smaller_than_the_window_keep_their_grid() -> None:
    volume = torch.rand((1, 1, 10, 9, 2), generator=torch.Generator().manual_seed(0))
    result = SliceWindowInference((16, 16))(volume, formula)
    assert result.shape == (1, 4, 10, 9, 2)
    torch.testing.assert_close(result.sum(1), torch.ones(1, 10, 9, 2))


@pytest.mark.parametrize(
    "inference", [SliceWindowInference((8, 8)), StretchedSliceInference((8, 8))]
)
def test_the_grid_of_the_file_is_kept(inference: SliceWindowInference) -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 10.0, 1.0], dtype=torch.float64))
    volume = MetaTensor(torch.rand(1, 1, 9, 12, 2), affine=affine, meta={"name": "x"})
    result = inference(volume, formula)
    assert isinstance(result, MetaTensor)
    assert result.shape == (1, 4, 9, 12, 2)
    torch.testing.assert_close(result.affine, affine)


def test_a_window_of_three_axes_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 edges"):
        SliceWindowInference((8, 8, 8))


def test_slices_are_mirrored_as_well() -> None:
    """A network that looks at the place alone says the same of a volume and of its mirror image."""
    volume = torch.rand(1, 1, 32, 32, 2)
    mirrored = SliceWindowInference((32, 32), mirror_axes=(0, 1))
    plain = SliceWindowInference((32, 32))
    said = mirrored(volume, formula)
    torch.testing.assert_close(mirrored(volume.flip(2), formula).flip(2), said)
    assert not torch.allclose(plain(volume, formula), said)
