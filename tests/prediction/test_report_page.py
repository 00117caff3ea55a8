"""report.html in a real browser: width, keyboard, screen reader, without scripts, in print."""

from __future__ import annotations

import io
import re
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medsemi.prediction.codes import Finding
from medsemi.prediction.report import write_report

HERE = Path(__file__).parent
FOLDER = SimpleNamespace(**runpy.run_path(str(HERE / "report_folder.py")))
BROWSER = SimpleNamespace(**runpy.run_path(str(HERE.parents[1] / "scripts" / "browser.py")))
TAB, DOWN = ("Tab", 9), ("ArrowDown", 40)
VISIBLE = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).length"
FOCUSED = "document.activeElement.textContent || document.activeElement.id"

pytestmark = pytest.mark.skipif(BROWSER.find_browser() is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a case of each status, and with names that are hard to lay out."""
    out = tmp_path_factory.mktemp("out")
    names = ["liver", "left_atrial_appendage_with_an_uncommonly_long_name_in_one_word"]
    volumes = [FOLDER.a_volume(name, 12.3, touches_border="RLAPSI") for name in names]
    FOLDER.add_case(out, "c01", agreement={names[0]: 0.9}, volumes=volumes, pictures=names)
    w08 = Finding("W08", {"label": names[1], "dice": 0.3})
    FOLDER.add_case(
        out, "x" * 80, findings=[w08], agreement={names[1]: 0.3}, volumes=volumes, pictures=names
    )
    many = [FOLDER.a_volume(f"part {number}", number) for number in range(1, 31)]
    FOLDER.add_case(out, "c03", findings=[Finding("W07", {"n": 5})], volumes=many)
    FOLDER.add_case(out, "c04", "refused", [Finding("R01", {"k": 3, "after": "7"})])
    FOLDER.add_case(out, "c05", "failed", [Finding("E05", {"id": "a" * 70})])
    FOLDER.add_case(out, "c06", "skipped", [Finding("S04")])
    FOLDER.add_run(out)
    write_report(out)
    return out / "report.html"


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with BROWSER.Browser() as browser:
        yield browser


@pytest.fixture
def browser(running: Any, page: Path) -> Any:
    running.allow_scripts(True)
    running.look(1280)
    running.open(page)
    return running


def test_it_asks_the_network_for_nothing_and_reports_no_error(browser: Any, page: Path) -> None:
    asked = [
        e["request"]["url"] for name, e in browser.events if name == "Network.requestWillBeSent"
    ]
    assert asked.count(page.as_uri()) == 1
    assert [url for url in asked if not url.startswith(("data:image/webp", page.as_uri()))] == []
    told = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
    assert [event for event in browser.events if event[0] in told] == []
    broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert browser.value("document.images.length") == 4
    assert browser.value(broken) == 0


@pytest.mark.parametrize("width", [1280, 820, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_over_the_side(browser: Any, width: int, scheme: str) -> None:
    browser.look(width, scheme=scheme)
    assert browser.value("document.documentElement.scrollWidth") == width
    over = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .volumes')
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className || e.tagName)"""
    assert browser.value(over) == []
    scrolled = "[...document.querySelectorAll('.volumes')].some(e => e.scrollWidth > e.clientWidth)"
    assert width < 820 or browser.value(scrolled) is False
    dark = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L")).mean() < 100
    assert dark is np.bool_(scheme == "dark")


def test_the_filter_is_used_from_the_keyboard(browser: Any) -> None:
    assert browser.value(VISIBLE) == 6
    browser.press(*TAB)
    assert browser.value(FOCUSED) == "Skip to the cases"
    assert browser.value("document.activeElement.getBoundingClientRect().left") >= 0
    browser.press(*TAB)
    assert browser.value(FOCUSED) == "show-all"
    outline = "getComputedStyle(document.querySelector('#show-all + .choice')).outlineStyle"
    assert browser.value(outline) == "solid"
    for expected in ("show-done", "show-warning", "show-refused"):
        browser.press(*DOWN)
        assert browser.value(FOCUSED) == expected
    assert browser.value(VISIBLE) == 1
    assert browser.value("document.getElementById('shown').textContent") == "1 of 6 cases shown"


def test_the_search_finds_cases_codes_and_structures(browser: Any) -> None:
    for words, count in (("c0", 5), ("w08", 1), ("liver", 2), ("C06 skipped", 1), ("nothing", 0)):
        browser.value(
            f"document.getElementById('search').value = '{words}';"
            "document.getElementById('filter').dispatchEvent(new Event('input'))"
        )
        assert browser.value(VISIBLE) == count, words
    assert browser.value("document.getElementById('shown').textContent") == "0 of 6 cases shown"


def test_it_works_without_scripts(browser: Any, page: Path) -> None:
    browser.allow_scripts(False)
    browser.open(page)
    browser.press(*TAB)
    browser.press(*TAB)
    browser.press(*DOWN)
    browser.press(*DOWN)
    parts = browser.accessible()
    images = [name for role, name in parts if role == "image"]
    assert len(images) == 2
    assert all("x" * 80 in name for name in images)
    assert not any(role.lower() == "searchbox" for role, _ in parts)


def test_a_screen_reader_is_told_what_is_there(browser: Any) -> None:
    parts = [(role.lower(), name) for role, name in browser.accessible()]
    for role in ("main", "banner", "contentinfo", "status", "searchbox"):
        assert role in [found for found, _ in parts]
    assert ("heading", "Segmentation report") in parts
    assert ("radio", "1 Refused") in parts
    assert ("table", "All cases, in the order of this report") in parts
    assert ("article", "c04") in parts
    assert [name for role, name in parts if role == "image" and not name] == []


def test_less_motion_is_respected(browser: Any) -> None:
    scrolling = "getComputedStyle(document.documentElement).scrollBehavior"
    assert browser.value(scrolling) == "smooth"
    style = browser.value("document.querySelector('style').textContent")
    assert "prefers-reduced-motion: reduce" in style


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def test_every_case_is_printed_on_a_page_of_its_own(browser: Any) -> None:
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    # Overview, six cases of which one has a long table, codes.
    assert 8 <= pages(pdf) <= 10
    browser.look(700, media="print")
    assert browser.value("getComputedStyle(document.querySelector('.card')).breakBefore")
    hidden = "getComputedStyle(document.querySelector('fieldset')).display"
    assert browser.value(hidden) == "none"
    opened = "document.querySelector('details td').getBoundingClientRect().height"
    assert browser.value("document.querySelector('details').open") is False
    assert browser.value(opened) > 0


@pytest.mark.slow
def test_the_disclaimer_stands_at_the_foot_of_every_printed_page(
    browser: Any, tmp_path: Path
) -> None:
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(browser.pdf())
    browser.look(800, 1131)
    for number in range(1, pages(pdf.read_bytes()) + 1):
        browser.open(pdf, f"toolbar=0&navpanes=0&page={number}&view=Fit")
        end, ink = time.monotonic() + 60, 0.0
        while ink < 0.01 and time.monotonic() < end:
            time.sleep(0.5)
            picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
            ink = float((picture[1065:1110, 50:600] < 128).mean())
        assert ink >= 0.01, f"page {number}"
