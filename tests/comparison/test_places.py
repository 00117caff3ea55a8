"""Where a comparison writes: never over another comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from medsemi.comparison.places import check_output
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
