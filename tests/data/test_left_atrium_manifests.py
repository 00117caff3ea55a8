"""The shipped splits of the left atrium against the field's own list."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medsemi.data.checks import check_training_data
from medsemi.data.manifest import ROLES, Manifest, load_manifest

# SHA-256 of data/test.list of github.com/yulequan/UA-MT.
PUBLISHED_TEST_LIST = "e55b18069e27d6eab3dc21b8d1dc05a99ef83110fedc789f81c461d7bb152199"
NAMES = [f"left_atrium_{n}_labeled{end}" for n in (4, 8, 16) for end in ("", "_paper")]


def load(repository: Path, name: str) -> Manifest:
    return load_manifest(repository / "data_manifests" / f"{name}.json")


def ids(manifest: Manifest, role: str) -> list[str]:
    return [case.case_id for case in manifest.cases(role)]


@pytest.mark.parametrize("name", NAMES)
def test_roles_are_disjoint_and_the_name_is_that_of_the_file(repository: Path, name: str) -> None:
    manifest = load(repository, name)
    cases = [case_id for role in ROLES for case_id in ids(manifest, role)]
    assert len(cases) == len(set(cases)) == 100
    assert manifest.name == name
    assert manifest.classes == {0: "background", 1: "left atrium"}
    assert all((manifest.source, manifest.terms, manifest.protocol, manifest.description))


@pytest.mark.parametrize("labels", [4, 8, 16])
def test_order_and_counts_are_those_of_the_list(
    repository: Path, shared: Path, labels: int
) -> None:
    listed = (shared / "data" / "la_mini" / "train.list").read_text().split()
    honest = load(repository, f"left_atrium_{labels}_labeled")
    paper = load(repository, f"left_atrium_{labels}_labeled_paper")
    counts = {4: (64, 76), 8: (60, 72), 16: (52, 64)}[labels]
    assert (len(honest.unlabeled), len(paper.unlabeled)) == counts
    assert ids(honest, "labeled") == ids(paper, "labeled") == listed[:labels]
    assert ids(honest, "unlabeled") == listed[labels:68]
    assert ids(honest, "validation") == listed[68:]
    assert ids(paper, "unlabeled") == listed[labels:]
    assert ids(paper, "validation") == []


def test_the_test_scans_are_the_same_twenty_everywhere(repository: Path) -> None:
    lists = {tuple(ids(load(repository, name), "test")) for name in NAMES}
    (only,) = lists
    assert len(set(only)) == 20
    text = "".join(f"{case_id}\n" for case_id in only)
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED_TEST_LIST


def test_all_files_differ_in_content(repository: Path) -> None:
    assert len({load(repository, name).digest for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES[:2])
def test_the_scans_at_1_25_mm_pass_the_checks(repository: Path, shared: Path, name: str) -> None:
    check_training_data(load(repository, name), shared / "data" / "la_mini")
