"""Slices of volumes as items of a stream, and the published windows of cardiac slices."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from medsemi.data.slices import slices
from medsemi.data.streams import StepStream, step_loader
from medsemi.data.stretching import SliceChange, changed, draw_change, stretched
from medsemi.data.volumes import Volume
from medsemi.errors import ConfigError, DataError

SHAPES = [(12, 20, 3), (9, 14, 2), (16, 10, 4)]


@pytest.fixture
def volumes(tmp_path: Path) -> list[Volume]:
    made = []
    for index, shape in enumerate(SHAPES):
        random = np.random.default_rng(index)
        np.save(tmp_path / f"{index}.npy", random.random((1, *shape), np.float32))
        np.save(tmp_path / f"{index}l.npy", random.integers(0, 4, shape, np.uint8))
        label = tmp_path / f"{index}l.npy" if index < 2 else None
        made.append(Volume(f"case{index}", tmp_path / f"{index}.npy", label, np.eye(4)))
    return made


def stream(volumes: list[Volume], **options: object) -> StepStream:
    settings = {"window": (12, 12), "labeled_windows": 4, "unlabeled_windows": 3, "seed": 4}
    return StepStream(slices(volumes[:2]), slices(volumes[2:]), **{**settings, **options})


def test_all_slices_in_order(volumes: list[Volume]) -> None:
    found = slices(volumes)
    assert [item.case_id for item in found] == [
        f"case{case}_slice_{number}"
        for case, shape in enumerate(SHAPES)
        for number in range(1, shape[2] + 1)
    ]
    for item in found:
        np.testing.assert_array_equal(item.image, item.volume.image[..., item.index])
        assert item.spacing == item.volume.spacing[:2] == (1, 1)
    np.testing.assert_array_equal(found[3].label, volumes[1].label[..., 0])
    np.testing.assert_array_equal(found[3].foreground_counts, (volumes[1].label[..., 0] > 0).sum(1))
    assert found[-1].label is None
    assert found[-1].foreground_counts.size == 0


def test_a_slice_shares_the_map_of_its_volume(volumes: list[Volume]) -> None:
    one = slices(volumes)[1]
    assert np.shares_memory(one.image, volumes[0].image)
    assert not one.image.flags.owndata
    copy = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(copy.image, one.image)


def test_a_plane_has_no_slices(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.zeros((1, 4, 4), np.float32))
    with pytest.raises(DataError, match="flat has 2 spatial axes"):
        slices([Volume("flat", tmp_path / "flat.npy", None, np.eye(4))])


@pytest.mark.parametrize("rule", ["cut", "stretch"])
def test_windows_of_slices(volumes: list[Volume], rule: str) -> None:
    made = stream(volumes, window_rule=rule)
    batch = made[0]
    assert batch.labeled.image.shape == (4, 1, 12, 12)
    assert batch.labeled.label.shape == (4, 12, 12)
    assert batch.labeled.label.dtype == torch.uint8
    assert batch.unlabeled.image.shape == (3, 1, 12, 12)
    assert batch.unlabeled.label is None
    assert {name[:5] for name in batch.labeled.case_ids} <= {"case0", "case1"}
    assert {name[:5] for name in batch.unlabeled.case_ids} == {"case2"}
    for workers in (0, 2):
        (again,) = step_loader(stream(volumes, window_rule=rule), 0, 1, workers)
        assert torch.equal(again.labeled.image, batch.labeled.image)
        assert torch.equal(again.labeled.label, batch.labeled.label)


def test_a_case_is_named_once_however_many_slices_it_has(volumes: list[Volume]) -> None:
    names = [volume.case_id for volume in volumes]
    assert stream(volumes).case_ids == {"labeled": names[:2], "unlabeled": names[2:]}


def test_image_and_label_of_a_window_belong_together(volumes: list[Volume]) -> None:
    """The image of this volume is its label, so that every window must show it twice."""
    twin = volumes[0]
    np.save(twin.image_file, np.load(twin.label_file)[None].astype(np.float32))
    for rule in ("cut", "stretch"):
        made = StepStream(
            slices([twin]), [], window=(14, 10), labeled_windows=3, unlabeled_windows=0,
            seed=1, window_rule=rule,
        )  # fmt: skip
        for step in range(8):
            batch = made[step].labeled
            assert torch.equal(batch.image[:, 0].to(torch.uint8), batch.label)


def test_the_wrong_rule_is_refused(volumes: list[Volume]) -> None:
    with pytest.raises(ConfigError, match="window_rule is 'squeeze'"):
        stream(volumes, window_rule="squeeze")
    with pytest.raises(ConfigError, match="is for slices"):
        StepStream(
            volumes[:2], [], window=(8, 8, 2), labeled_windows=1, unlabeled_windows=0, seed=0,
            window_rule="stretch",
        )  # fmt: skip
    with pytest.raises(ConfigError, match="window has 3 axes and the volumes have 2"):
        stream(volumes, window=(8, 8, 8))


def test_changes_are_the_published_ones(golden: Path) -> None:
    stored = np.load(golden / "augment.npz")
    for kind in ("image", "label"):
        source = stored[f"acdc/{kind}"]
        for turns in range(4):
            for axis in range(2):
                result = changed(source, SliceChange(turns, (axis,)))
                expected = stored[f"acdc/rotflip_k{turns}_axis{axis}/{kind}"]
                np.testing.assert_array_equal(result, expected)
        for angle in (-20, -7, 0, 13, 19):
            result = changed(source, SliceChange(angle=angle))
            np.testing.assert_array_equal(result, stored[f"acdc/rotate_{angle}/{kind}"])
        resized = stretched(source, (32, 32))
        np.testing.assert_array_equal(resized, stored[f"acdc/resize_32/{kind}"].reshape(32, 32))


def test_changes_are_drawn_as_often_as_published() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_change(generator) for _ in range(8000)]
    flipped = [change for change in drawn if change.flips]
    turned = [change for change in drawn if change.angle]
    assert len(flipped) / len(drawn) == pytest.approx(0.5, abs=0.02)
    assert len(turned) / len(drawn) == pytest.approx(0.25 * 39 / 40, abs=0.02)
    assert {change.angle for change in turned} == set(range(-20, 20)) - {0}
    assert {(change.turns, change.flips) for change in flipped} == {
        (turns, (axis,)) for turns in range(4) for axis in range(2)
    }
