"""The page of a comparison in a real browser: nothing runs over, in light and dark, narrow and wide."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.comparison.jobs import Arm
from medsemi.comparison.run import report

BROWSER = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "browser.py"))
)

pytestmark = pytest.mark.skipif(BROWSER.find_browser() is None, reason="no Chromium here")


def test_tables_scroll_in_themselves_and_the_chart_is_drawn(arms, tmp_path: Path) -> None:
    plan = arms.a_plan(tmp_path)
    for arm in plan.arms:
        arms.a_record(plan, arm.method, arm.seed, 0.7).save(plan.output / "records")
    scores = {"student": {"v0": 0.5}}
    folder = plan.evaluation(Arm("bcp", 0))
    arms.write_evaluation(folder, "student", scores, plan.manifest.digest)
    report(plan)
    with BROWSER.Browser() as browser:
        browser.open(plan.output / "report.html")
        for width, scheme in ((360, "light"), (1280, "dark")):
            browser.look(width, scheme=scheme)
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert browser.value(overflow) <= 0
            assert browser.value("document.querySelector('.chart').naturalWidth") > 100
            tables = browser.value("document.querySelectorAll('table').length")
            assert tables == 3
