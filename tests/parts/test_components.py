"""The pseudo-label filter against the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medsemi.parts.components import hard_labels, largest_component, start_component_filter


@pytest.mark.parametrize(
    ("key", "connectivity"),
    [("la_full_connectivity", None), ("connectivity_6", 1), ("pancreas_connectivity_18", 2)],
)
def test_three_dimensional_filter(golden: Path, key: str, connectivity: int | None) -> None:
    g = np.load(golden / "largest_component_3d.npz")
    for name, mask, expected in zip(g["names"], g["masks"], g[key], strict=True):
        np.testing.assert_array_equal(largest_component(mask, connectivity), expected, str(name))


def test_hard_labels_of_two_classes(golden: Path) -> None:
    g = np.load(golden / "largest_component_3d.npz")
    labels = hard_labels(torch.from_numpy(g["logits"]).float())
    np.testing.assert_array_equal(labels.numpy(), g["cut_mask_no_filter"])
    np.testing.assert_array_equal(start_component_filter(labels)().numpy(), g["cut_mask_filtered"])


def test_two_dimensional_filter_keeps_one_component_per_class(golden: Path) -> None:
    g = np.load(golden / "largest_component_2d.npz")
    for name, label, expected in zip(g["names"], g["labels"], g["result"], strict=True):
        np.testing.assert_array_equal(largest_component(label), expected, str(name))
    labels = hard_labels(torch.from_numpy(g["logits"]).float())
    np.testing.assert_array_equal(labels.numpy(), g["masks_no_filter"])
    np.testing.assert_array_equal(start_component_filter(labels)().numpy(), g["masks_filtered"])


def test_empty_stays_empty_and_the_input_is_untouched() -> None:
    label = np.zeros((4, 4, 4), np.uint8)
    assert not largest_component(label).any()
    label[0, 0, 0] = label[2:, 2:, 2:] = 1
    before = label.copy()
    assert largest_component(label).sum() == 8
    np.testing.assert_array_equal(label, before)


@pytest.mark.gpu
def test_the_filter_is_the_same_on_a_gpu() -> None:
    labels = (torch.rand(4, 32, 32, 16) > 0.7).to(torch.uint8)
    for index in range(torch.cuda.device_count()):  # not only on the current one
        on_gpu = start_component_filter(labels.to(f"cuda:{index}"))().cpu()
        assert torch.equal(on_gpu, start_component_filter(labels)())
