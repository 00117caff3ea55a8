"""Images to the working grid and labels back, against whole-volume interpolation by scipy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from torch import Tensor

from medsemi.prediction import resampling
from medsemi.prediction.case import Grid
from medsemi.prediction.geometry import index_transform, orthogonal_grid, working_grid
from medsemi.prediction.resampling import LabelAssembler, labels_on, to_working

CPU = torch.device("cpu")
ORIENTATIONS = ["RAS", "LPS", "SPL", "AIR", "IRP"]
lengths = st.floats(0.5, 4.0)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def stacks(draw: st.DrawFn, lean: float = 0.5, skew: float = 0.0) -> Grid:
    """Stacks of any direction; slices drift by up to `lean` mm per mm, rows lean by `skew`."""
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    if draw(st.booleans()):
        axes[:, 0] *= -1
    drifts = st.sampled_from([0.0, lean / 3, -lean])
    axes[:, 2] += axes[:, 0] * draw(drifts) + axes[:, 1] * draw(drifts)
    axes[:, 1] += axes[:, 0] * skew
    affine = np.eye(4)
    affine[:3, :3] = axes * draw(st.tuples(lengths, lengths, lengths))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Grid(draw(st.tuples(*[st.integers(2, 11)] * 3)), affine)


def scores_on(grid: Grid, classes: int, seed: int) -> Tensor:
    """Noise, with a background that wins in most places, so that classes come in patches."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((classes, *grid.shape), generator=generator)
    scores[0] += 2.0 * torch.rand(1, generator=generator)
    return scores


def sampled(values: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole-volume trilinear interpolation; beyond the edge the nearest value is taken."""
    return map_coordinates(values.astype(np.float64), at, order=1, mode="nearest")


def places(
    of: Grid, within: Grid, slices: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(3, column, row, slice) indices in `within` of the voxel centers of `of`."""
    last = np.arange(of.shape[2]) if slices is None else slices
    indices = np.stack(
        np.meshgrid(np.arange(of.shape[0]), np.arange(of.shape[1]), last, indexing="ij")
    )
    transform = index_transform(of, within)
    return np.tensordot(transform[:3, :3], indices, axes=1) + transform[:3, 3, None, None, None]


def expected_labels(
    scores: Tensor, working: Grid, target: Grid, slices: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The greatest class by whole-volume interpolation, and where it is greatest beyond rounding."""
    at = places(target, working, slices)
    every = np.stack([sampled(score.numpy(), at) for score in scores])
    first, second = -np.sort(-every, axis=0)[:2]
    return every.argmax(axis=0), first - second > 1e-4


def assert_equal_where_clear(
    labels: NDArray[np.unsignedinteger], expected: tuple[NDArray[np.intp], NDArray[np.bool_]]
) -> None:
    reference, clear = expected
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], reference[clear])


@settings(derandomize=True, max_examples=120, deadline=None)
@given(
    st.one_of(stacks(), stacks(lean=0.0), stacks(skew=0.3)),
    st.tuples(lengths, lengths, lengths),
    st.sampled_from(ORIENTATIONS),
    st.integers(2, 5),
    seeds,
)
def test_labels_equal_those_of_the_whole_volume(
    target: Grid, spacing: tuple[float, float, float], orientation: str, classes: int, seed: int
) -> None:
    working = working_grid(target, spacing, orientation)
    assume(np.prod(working.shape) < 1e5)
    scores = scores_on(working, classes, seed)
    labels = labels_on(scores, working, target)
    assert labels.shape == target.shape
    assert labels.dtype == np.uint8
    assert_equal_where_clear(labels, expected_labels(scores, working, target))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(stacks(), st.sampled_from(ORIENTATIONS), seeds, st.data())
def test_the_size_of_bands_does_not_matter(
    target: Grid, orientation: str, seed: int, data: st.DataObject
) -> None:
    working = working_grid(target, (1.3, 1.1, 1.7), orientation)
    scores = scores_on(working, 3, seed)
    assembler = LabelAssembler(working, target, 3, device=CPU)
    planes = working.shape[assembler.axis]
    first = 0
    while first < planes:
        count = data.draw(st.integers(1, planes - first))
        assembler.add(first, scores.narrow(assembler.axis + 1, first, count))
        first += count
    np.testing.assert_array_equal(assembler.finish(), labels_on(scores, working, target))


def test_parts_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    affine = np.diag([0.9, 1.0, 1.1, 1.0])
    target = Grid((23, 17, 31), affine)
    working = working_grid(target, (1.5, 1.5, 1.5), "RAS")
    scores = scores_on(working, 4, 0)
    labels = labels_on(scores, working, target)
    image = to_working(scores[0].numpy(), working, target, 0.0, CPU)
    monkeypatch.setattr(resampling, "PART_BYTES", {"cpu": 1})
    monkeypatch.setattr(resampling, "BLOCK_VOXELS", {"cpu": 1})
    np.testing.assert_array_equal(labels_on(scores, working, target), labels)
    assert torch.equal(to_working(scores[0].numpy(), working, target, 0.0, CPU), image)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(stacks(lean=0.0), st.sampled_from(ORIENTATIONS), seeds)
def test_coinciding_lattices_are_copied_exactly(source: Grid, orientation: str, seed: int) -> None:
    working = working_grid(source, None, orientation)
    values = np.random.default_rng(seed).normal(0, 1000, source.shape).astype(np.float32)
    image = to_working(values, source, working, -1024.0, CPU)
    column, row, plane = np.rint(places(working, source)).astype(int)
    np.testing.assert_array_equal(image.numpy(), values[column, row, plane])
    scores = scores_on(working, 4, seed)
    inverse = tuple(np.rint(places(source, working)).astype(int))
    np.testing.assert_array_equal(
        labels_on(scores, working, source), scores.argmax(dim=0).numpy()[inverse]
    )


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.one_of(stacks(), stacks(lean=0.0), stacks(skew=0.3)),
    st.tuples(lengths, lengths, lengths),
    st.sampled_from(ORIENTATIONS),
    seeds,
)
def test_images_equal_those_of_the_whole_volume(
    source: Grid, spacing: tuple[float, float, float], orientation: str, seed: int
) -> None:
    working = working_grid(source, spacing, orientation)
    assume(np.prod(working.shape) < 1e5)
    values = np.random.default_rng(seed).normal(0, 1, source.shape).astype(np.float32)
    image = to_working(np.asfortranarray(values), source, working, 7.0, CPU)
    at = places(working, source)
    shape = np.array(source.shape)[:, None, None, None]
    touch = np.abs(index_transform(working, source)[:3, :3]).sum(axis=1)[:, None, None, None] / 2
    depth = (np.abs(at - (shape - 1) / 2) - shape / 2 - touch).max(axis=0)
    expected = np.where(depth > 0, 7.0, sampled(values, at))
    clear = np.abs(depth) > 1e-4
    assert image.is_contiguous()
    np.testing.assert_allclose(image.numpy()[clear], expected[clear], atol=2e-3)
    if source.shear_degrees < 1e-3:
        assert (depth <= 1e-4).all()  # nothing of an orthogonal working grid lies outside


def test_beside_a_tilted_stack_lies_background() -> None:
    affine = np.eye(4)
    affine[1, 2] = 1.0
    source = Grid((8, 8, 16), affine)
    working = working_grid(source, None, "LPS")
    image = to_working(np.ones(source.shape, np.float32), source, working, -1024.0, CPU)
    assert image[4, -2, 0] == -1024
    assert image[4, 1, -1] == -1024
    assert image[4, 4, 0] == 1
    assert set(image.unique().tolist()) == {-1024.0, 1.0}


def test_a_larger_working_grid_is_filled_with_background() -> None:
    source = Grid((4, 4, 4), np.eye(4))
    affine = np.eye(4)
    affine[:3, 3] = -2
    image = to_working(np.ones((4, 4, 4), np.float32), source, Grid((8, 8, 8), affine), 5.0, CPU)
    expected = torch.full((8, 8, 8), 5.0)
    expected[1:7, 1:7, 1:7] = 1.0  # a voxel that touches the image takes its nearest value
    assert torch.equal(image, expected)


def test_values_are_clipped_before_they_are_interpolated() -> None:
    """As bundles prepare a scan for training: a voxel half of bone is half of the clipped value."""
    values = np.zeros((4, 4, 4), np.float32)
    values[2:] = 1500.0
    affine = np.diag([0.5, 1.0, 1.0, 1.0])
    affine[0, 3] = -1.0
    grids = Grid((4, 4, 4), np.eye(4)), Grid((12, 4, 4), affine)
    image = to_working(values, *grids, -1024.0, CPU, clip=(-200.0, 300.0))
    expected = to_working(values.clip(-200, 300), *grids, -200.0, CPU)
    assert torch.equal(image, expected)
    assert 150.0 in image.unique()
    assert values.max() == 1500.0


def test_the_image_is_a_copy_and_may_be_read_only() -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values.flags.writeable = False
    grid = Grid((4, 5, 6), np.eye(4))
    to_working(values, grid, grid, 0.0, CPU).add_(1)
    assert not values.any()


@settings(derandomize=True, max_examples=30, deadline=None)
@given(stacks(), st.lists(st.floats(0, 1), min_size=1, max_size=9), seeds)
def test_labels_between_slices(target: Grid, fractions: list[float], seed: int) -> None:
    slices = np.array(fractions) * (target.shape[2] - 1)
    working = working_grid(target, (1.2, 1.2, 1.2), "RAS")
    scores = scores_on(working, 3, seed)
    labels = labels_on(scores, working, target, slice_index=slices.tolist())
    assert labels.shape == (*target.shape[:2], len(slices))
    at = places(target, working, slices)
    every = np.stack([sampled(score.numpy(), at) for score in scores])
    first, second = -np.sort(-every, axis=0)[:2]
    # A slice is moved by up to a thousandth of a voxel onto a plane that is so near.
    clear = first - second > 0.02
    np.testing.assert_array_equal(labels[clear], every.argmax(axis=0)[clear])


def test_slices_at_whole_positions_are_those_of_the_target() -> None:
    target = Grid((9, 8, 12), np.diag([1.0, 1.0, 2.5, 1.0]))
    working = working_grid(target, (1.5, 1.5, 1.5), "RAS")
    scores = scores_on(working, 3, 3)
    chosen = [0, 2, 3, 7, 11]
    np.testing.assert_array_equal(
        labels_on(scores, working, target, slice_index=chosen),
        labels_on(scores, working, target)[..., chosen],
    )


def test_labels_of_a_tilted_stack_on_its_straight_grid() -> None:
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 1.1
    source = Grid((12, 10, 7), affine)
    straight = orthogonal_grid(source)
    working = working_grid(source, (1.5, 1.5, 1.5), "RAS")
    scores = scores_on(working, 3, 4)
    labels = labels_on(scores, working, straight)
    assert_equal_where_clear(labels, expected_labels(scores, working, straight))


def test_of_equal_scores_the_lower_class_wins() -> None:
    target = Grid((6, 6, 6), np.eye(4))
    working = working_grid(target, (1.5, 1.5, 1.5), "RAS")
    scores = torch.zeros((4, *working.shape))
    assert not labels_on(scores, working, target).any()
    scores[1:] = 1.0
    assert (labels_on(scores, working, target) == 1).all()


def test_a_structure_in_one_voxel_is_found() -> None:
    """The search for where a class may win leaves nothing out, also beyond the working grid."""
    working = Grid((9, 9, 9), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.eye(4)
    affine[:3, 3] = -4
    target = Grid((25, 25, 25), affine)
    for place in ((0, 0, 0), (8, 8, 8), (4, 5, 6), (0, 8, 3)):
        scores = torch.zeros((3, *working.shape))
        scores[0] = 0.1
        scores[(2, *place)] = 1.0
        labels = labels_on(scores, working, target)
        expected = expected_labels(scores, working, target)[0]
        assert (expected == 2).any()
        np.testing.assert_array_equal(labels, expected)


def test_half_precision_scores() -> None:
    target = Grid((9, 8, 12), np.diag([1.0, 1.0, 2.5, 1.0]))
    working = working_grid(target, (1.5, 1.5, 1.5), "RAS")
    scores = scores_on(working, 3, 3).half()
    np.testing.assert_array_equal(
        labels_on(scores, working, target), labels_on(scores.float(), working, target)
    )


def test_more_than_256_classes() -> None:
    working = target = Grid((3, 10, 10), np.eye(4))
    winners = torch.arange(300).reshape(working.shape)
    scores = torch.nn.functional.one_hot(winners, 300).permute(3, 0, 1, 2).float()
    labels = labels_on(scores, working, target)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, winners.numpy())


@settings(derandomize=True, max_examples=10, deadline=None)
@given(stacks(), seeds)
def test_probabilities_are_those_of_the_interpolated_logits(target: Grid, seed: int) -> None:
    working = working_grid(target, (1.2, 1.4, 1.6), "RAS")
    scores = scores_on(working, 3, seed)
    assembler = LabelAssembler(working, target, 3, device=CPU, keep_probabilities=True)
    assembler.add(0, scores)
    labels, probabilities = assembler.finish(), assembler.probabilities
    assert probabilities is not None
    at = places(target, working)
    every = np.stack([sampled(score.numpy(), at) for score in scores])
    expected = np.exp(every) / np.exp(every).sum(axis=0)
    assert probabilities.shape == (3, *target.shape)
    assert probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)
    np.testing.assert_array_equal(labels, labels_on(scores, working, target))


def test_probabilities_are_not_kept_unasked() -> None:
    grid = Grid((3, 3, 3), np.eye(4))
    assert LabelAssembler(grid, grid, 2, device=CPU).probabilities is None


def test_bands_out_of_order_or_of_another_shape_are_refused() -> None:
    grid = Grid((4, 5, 6), np.eye(4))
    assembler = LabelAssembler(grid, grid, 2, device=CPU)
    assert assembler.axis == 2
    with pytest.raises(ValueError, match="at plane 1"):
        assembler.add(1, torch.zeros(2, 4, 5, 2))
    with pytest.raises(ValueError, match="expected 2 classes"):
        assembler.add(0, torch.zeros(3, 4, 5, 2))
    with pytest.raises(ValueError, match=r"shape \(2, 5, 4, 2\)"):
        assembler.add(0, torch.zeros(2, 5, 4, 2))
    assembler.add(0, torch.zeros(2, 4, 5, 4))
    with pytest.raises(ValueError, match="4 of 6 planes"):
        assembler.finish()
    with pytest.raises(ValueError, match="got plane 7 of 6"):
        assembler.add(4, torch.zeros(2, 4, 5, 4))


MEMORY = """
import resource
import numpy as np, torch
from medsemi.prediction.case import Grid
from medsemi.prediction.geometry import working_grid
from medsemi.prediction.resampling import LabelAssembler

torch.set_num_threads(1)
target = Grid((256, 256, 160), np.eye(4))
working = working_grid(target, (2.0, 2.0, 2.0), "RAS")

def peak_mb(classes):
    assembler = LabelAssembler(working, target, classes, device=torch.device("cpu"))
    for first in range(0, working.shape[2], 2):
        band = torch.rand((1, 128, 128, 2), dtype=torch.float32)
        assembler.add(first, band.expand(classes, -1, -1, -1) + torch.rand(classes, 1, 1, 1))
    assert assembler.finish().any()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

print(peak_mb(2), peak_mb(20))
"""


def test_memory_does_not_grow_with_classes_times_source_voxels() -> None:
    """20 classes on the source are 839 MB in float32, and 0.2 GB on the working grid."""
    output = subprocess.run(
        [sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True
    ).stdout
    two, twenty = map(float, output.split())
    assert twenty - two < 40
