"""Networks of slices in prediction: windows one voxel thick, axes of the source."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medsemi.evaluation.slice_protocol import SliceWindowInference, StretchedSliceInference
from medsemi.networks.unet2d import UNet2D
from medsemi.prediction.bundle_network import read_plan
from medsemi.prediction.case import Grid
from medsemi.prediction.codes import RunStopped
from medsemi.prediction.geometry import working_grid
from medsemi.prediction.slice_network import SliceNetwork
from medsemi.prediction.windows import stream_bands


def test_bands_of_slices_give_the_probabilities_of_the_inferer() -> None:
    torch.manual_seed(0)
    network = UNet2D(out_channels=3, filters=2).eval()
    volume = torch.rand(20, 29, 3)
    inferer = SliceWindowInference((16, 32), (8, 16), weighting="gaussian")
    with torch.inference_mode():
        expected = inferer(volume[None, None], network)[0]
    planes = torch.full_like(expected, torch.nan)

    def consume(first: int, scores: torch.Tensor) -> None:
        planes[..., first : first + scores.shape[-1]] = scores

    plan, wrapped = read_plan(inferer), SliceNetwork(network)
    assert (plan.size, plan.stride) == ((16, 32, 1), (8, 16, 1))
    with torch.inference_mode():
        stream_bands(volume, lambda w: wrapped(w).softmax(1), plan, 2, consume, batch=2)
    torch.testing.assert_close(planes, expected, atol=1e-5, rtol=0)


def test_stretched_slices_are_no_windows() -> None:
    with pytest.raises(RunStopped, match="slides no window"):
        read_plan(StretchedSliceInference((16, 16)))


def test_the_axes_of_the_source_stay_where_no_orientation_is_asked_for() -> None:
    """Slices of a short axis view may lie across any axis of the patient."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 8], [-1.5, 0, 0], [0, -1.5, 0]])
    source = Grid((20, 30, 5), affine)
    kept = working_grid(source, None, None)
    assert kept.shape == (20, 30, 5)
    np.testing.assert_allclose(kept.affine, affine)
    assert working_grid(source, None, "RAS").shape != kept.shape
