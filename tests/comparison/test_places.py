"""Where a comparison writes, never over another one, and which records of others it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from medsemi.comparison.places import check_output, check_records
from medsemi.errors import ConfigError


def test_the_same_comparison_goes_on_with_other_methods_and_seeds(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    check_output(plan)
    arms.a_record(plan, "bcp", 0, 0.8).save(plan.output / "records")
    check_output(plan)
    check_output(arms.a_plan(tmp_path, methods=("fixmatch",), seeds=(7,)))
    check_output(arms.a_plan(tmp_path, role="test"))


@pytest.mark.parametrize("digest", ["manifest_digest", "settings_digest", "evaluation_digest"])
def test_an_output_with_records_of_another_comparison_is_refused(
    digest: str, arms, tmp_path: Path
) -> None:
    plan = arms.a_plan(tmp_path)
    arms.a_record(plan, "bcp", 0, 0.8).save(plan.output / "records")
    arms.a_record(plan, "bcp", 1, 0.8, **{digest: "0"}).save(plan.output / "records")
    with pytest.raises(ConfigError, match=r"bcp-1\.json is of another comparison"):
        check_output(plan)


def test_how_many_records_of_others_fit_is_told(
    arms, tmp_path: Path, caplog: pytest.LogCaptureFixture, told: Callable[[str], list[str]]
) -> None:
    plan, theirs, unfit = arms.a_plan(tmp_path), tmp_path / "theirs", tmp_path / "unfit"
    for seed in (0, 1):
        arms.a_record(plan, "bcp", seed, 0.8).save(theirs)
    arms.a_record(plan, "bcp", 2, 0.8).save(theirs)  # no seed of this comparison
    arms.a_record(plan, "bcp", 0, 0.8, settings_digest="0").save(unfit)
    with caplog.at_level(logging.INFO, "medsemi"):
        check_records(plan, [theirs, unfit])
    assert told("medsemi.comparison.places") == [
        f"records read from {theirs}: 3, of this comparison: 2",
        f"records read from {unfit}: 1, of this comparison: 0",
    ]


def test_a_folder_without_records_is_refused(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    arms.a_record(plan, "bcp", 0, 0.8).save(tmp_path / "theirs" / "records")
    for name, said in (("theirs", "holds no record"), ("absent", "is no folder")):
        with pytest.raises(ConfigError, match=f"--records {tmp_path / name}:? {said}"):
            check_records(plan, [tmp_path / "theirs" / "records", tmp_path / name])
