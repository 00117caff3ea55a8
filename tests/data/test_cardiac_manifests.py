"""The shipped splits of the cardiac scans against the field's lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.data.manifest import ROLES, Case, Manifest, load_manifest

COUNTS = (3, 7, 14)
# Slices of the first patients, as the field states them.
SLICES = {3: 68, 7: 136, 14: 256}


def load(repository: Path, labeled: int) -> Manifest:
    return load_manifest(repository / "data_manifests" / f"cardiac_{labeled}_labeled.json")


def names(cases: tuple[Case, ...]) -> list[str]:
    return [case.case_id for case in cases]


@pytest.mark.parametrize("labeled", COUNTS)
def test_order_and_roles_are_those_of_the_lists(
    repository: Path, shared: Path, labeled: int
) -> None:
    lists = shared / "data" / "acdc_mini" / "lists"
    manifest = load(repository, labeled)
    assert manifest.name == f"cardiac_{labeled}_labeled"
    training = (lists / "train.list").read_text().split()
    assert names(manifest.labeled) == training[: 2 * labeled]
    assert names(manifest.unlabeled) == training[2 * labeled :]
    assert names(manifest.validation) == (lists / "val.list").read_text().split()
    patients = {case.patient for case in manifest.labeled}
    slices = (lists / "train_slices.list").read_text().split()
    prefix = slices[: SLICES[labeled]]
    assert {name.split("_")[0] for name in prefix} == patients
    assert not {name.split("_")[0] for name in slices[SLICES[labeled] :]} & patients


@pytest.mark.parametrize("labeled", COUNTS)
def test_both_frames_of_all_hundred_patients(repository: Path, labeled: int) -> None:
    manifest = load(repository, labeled)
    cases = [case for role in ROLES for case in manifest.cases(role)]
    expected = [f"patient{n:03d}_frame{f:02d}" for n in range(1, 101) for f in (1, 2)]
    assert sorted(names(tuple(cases))) == expected
    assert all(case.patient == case.case_id.split("_")[0] for case in cases)
    assert len({case.patient for case in manifest.test}) == 20
    assert manifest.test == load(repository, 7).test
    assert manifest.classes == {
        0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle",
    }  # fmt: skip
    assert all((manifest.source, manifest.terms, manifest.protocol, manifest.description))


def test_the_reduced_scans_are_there(repository: Path, shared: Path) -> None:
    folder = shared / "data" / "acdc_mini"
    manifest = load(repository, 7)
    for case in (*manifest.labeled, *manifest.validation):
        assert (folder / case.image).is_file()
        assert (folder / case.label).is_file()
