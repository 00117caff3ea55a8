"""Volumes that share a series are told apart by their headers, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.header import Frame, Place
from medsemi.prediction.discovery.stacks import positions
from medsemi.prediction.discovery.volumes import split_volumes


def make(z: int, number: int, **keys: Any) -> Frame:
    place = Place((0.0, 0.0, float(z)), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0))
    return Frame(Path(f"{number}"), 0, f"{number}", (4, 4), place=place, keys=keys)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.sampled_from(["echo", "b", "b_private", "tp", "acq", "trigger", "acq_time"]),
    st.integers(2, 6),
    st.integers(3, 12),
    st.randoms(),
)
def test_volumes_are_split_by_any_key(key: str, count: int, slices: int, draw: Any) -> None:
    values = draw.sample(range(10, 99), count)
    frames = [
        make(z, v * 100 + z, instance=float(draw.randrange(10**6)), **{key: value})
        for v, value in enumerate(values)
        for z in range(slices)
    ]
    draw.shuffle(frames)
    split = split_volumes(positions(frames))
    assert not isinstance(split, Finding)
    name, volumes = split
    assert name == {"b_private": "b (private)"}.get(key, key)
    assert [volume.value for volume in volumes] == [str(value) for value in sorted(values)]
    for volume, value in zip(volumes, sorted(values), strict=True):
        assert {frame.keys[key] for frame in volume.frames} == {value}
        assert [frame.place.position[2] for frame in volume.frames] == list(range(slices))  # type: ignore[union-attr]


def test_echo_and_part_together() -> None:
    frames = [
        make(z, 100 * echo + 10 * "MP".index(part) + z, echo=float(echo), it=part)
        for echo in (4, 9)
        for part in "MP"
        for z in range(4)
    ]
    split = split_volumes(positions(frames))
    assert not isinstance(split, Finding)
    assert split[0] == "echo+it"
    assert [volume.frames[0].keys["it"] for volume in split[1]] == list("MPMP")


def test_the_order_of_instances_is_the_last_resort() -> None:
    frames = [make(z, 10 * v + z, instance=float(10 * z + v)) for v in range(3) for z in range(4)]
    split = split_volumes(positions([frames[i] for i in np.random.default_rng(0).permutation(12)]))
    assert not isinstance(split, Finding)
    assert split[0] == "instance_order"
    assert [[frame.keys["instance"] % 10 for frame in v.frames] for v in split[1]] == [
        [v] * 4 for v in range(3)
    ]


@pytest.mark.parametrize("instances", [(1.0, 1.0), (None, None), (1.0, None)])
def test_what_cannot_be_told_apart_is_refused(instances: tuple[float | None, ...]) -> None:
    frames = [
        make(z, 10 * v + z, **({} if number is None else {"instance": number}))
        for v, number in enumerate(instances)
        for z in range(3)
    ]
    assert split_volumes(positions(frames)) == Finding("R05", {"v": 2})


def test_a_key_that_meets_itself_at_one_position_is_none() -> None:
    """Two values, three images at each position: values alone would merge two of them."""
    frames = [
        make(z, 10 * v + z, acq=float(v > 0), instance=float(v)) for v in range(3) for z in range(3)
    ]
    split = split_volumes(positions(frames))
    assert not isinstance(split, Finding)
    assert split[0] == "instance_order"


def test_missing_images_are_counted() -> None:
    frames = [make(z, 10 * v + z, acq=float(v)) for v in range(2) for z in range(6)]
    del frames[8]
    assert split_volumes(positions(frames)) == Finding("R06", {"k": 1, "where": "volume 2 of 2"})


@pytest.mark.parametrize("acquired", [{}, {"acq": True}])
def test_where_images_are_missing_is_told_only_if_known(acquired: dict[str, bool]) -> None:
    """No key tells the volumes apart, or more than one of them is short: none is named."""
    keys = [{name: float(v) for name in acquired} for v in range(2)]
    frames = [make(z, 10 * v + z, **keys[v]) for v in range(2) for z in range(6)]
    del frames[9], frames[2]
    finding = split_volumes(positions(frames))
    assert finding == Finding("R06", {"k": 2, "where": "a series of 2 volumes"})
