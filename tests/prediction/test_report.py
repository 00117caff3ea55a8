"""report.html as text: what stands in it, in which order, and what must never stand in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import runpy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from medsemi.prediction.codes import CODES, DISCLAIMER, Finding
from medsemi.prediction.report import write_report

FOLDER = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("report_folder.py"))))
VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """A page, checked for balance while it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def card(self, case_id: str) -> str:
        """The text of one card."""
        cards = re.findall(r"<article.*?</article>", self.source, re.S)
        found = [card for card in cards if f">{case_id}</h3>" in card]
        assert found
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


def written(out: Path) -> Page:
    write_report(out)
    return Page(out / "report.html")


def order(page: Page) -> list[str]:
    return re.findall(r'<h3 id="heading-\d+">([^<]+)</h3>', page.source)


def test_the_lowest_agreement_comes_first_and_the_page_says_so(tmp_path: Path) -> None:
    w07 = [Finding("W07", {"n": 5})]
    FOLDER.add_case(tmp_path, "plain")
    FOLDER.add_case(tmp_path, "warned", findings=w07)
    FOLDER.add_case(tmp_path, "sure", agreement={"liver": 0.97, "spleen": None})
    FOLDER.add_case(tmp_path, "unsure", agreement={"liver": 0.99, "spleen": 0.4})
    FOLDER.add_case(tmp_path, "unknown", agreement={"liver": None}, findings=w07)
    FOLDER.add_case(tmp_path, "stopped", "refused", [Finding("R03", {"degrees": 20})])
    FOLDER.add_case(tmp_path, "broken", "failed", [Finding("E01")])
    FOLDER.add_case(tmp_path, "aside", "skipped", [Finding("S04")])
    page = written(tmp_path)
    assert order(page) == [
        "unsure", "sure", "unknown", "warned", "plain", "broken", "stopped", "aside",
    ]  # fmt: skip
    assert "agree least come first" in page.text
    assert "0.40" in page.text
    assert "No result for 2 of 8 cases: 1 refused, 1 failed." in page.text


def test_totals_stand_on_the_choices_of_the_filter(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a")
    FOLDER.add_case(tmp_path, "b", findings=[Finding("W11")])
    FOLDER.add_case(tmp_path, "c", findings=[Finding("W11")])
    FOLDER.add_case(tmp_path, "d", "refused", [Finding("R04")])
    page = written(tmp_path)
    for total in ("4 All", "1 Done", "2 Done, with warnings", "1 Refused", "0 Failed", "0 Skipped"):
        assert total in page.text
    radios = [each for each in page.all("input") if each["type"] == "radio"]
    assert len(radios) == 6
    assert [each["value"] for each in radios if "checked" in each] == ["all"]
    statuses = [attributes["data-status"] for attributes in page.all("article")]
    assert sorted(map(str, statuses)) == ["done", "refused", "warning", "warning"]


def test_model_and_disclaimer_are_shown(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a")
    FOLDER.add_run(tmp_path)
    page = written(tmp_path)
    for text in (FOLDER.MODEL.name, "1.2.0", "0123456789abcdef", "2026-01-15 09:30 UTC"):
        assert text in page.text
    # Before the title on the screen, and in the margin of every printed page.
    assert page.text.index(DISCLAIMER) < page.text.index("Segmentation report Model")
    assert f'@page{{@bottom-left{{content:"{DISCLAIMER}"}}}}' in page.source


def test_warnings_and_refusals_say_what_to_do(tmp_path: Path) -> None:
    w18 = [Finding("W18", {"label": name, "sides": "S"}) for name in ("liver", "spleen")]
    FOLDER.add_case(tmp_path, "warned", findings=w18)
    FOLDER.add_case(tmp_path, "stopped", "refused", [Finding("R01", {"k": 3, "after": "7"})])
    page = written(tmp_path)
    warned, stopped = page.card("warned"), page.card("stopped")
    assert "liver touches the image border (S)" in warned
    assert "spleen touches the image border (S)" in warned
    assert warned.count("What to do:") == 1
    assert "Why there is no result" in stopped
    assert "3 slices are missing after slice 7." in stopped
    assert f"What to do: {CODES['R01'].advice}" in re.sub(r"\s+", " ", stopped)


def test_the_legend_holds_the_codes_that_occur_and_no_others(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a", findings=[Finding("W07", {"n": 5}), Finding("W11")])
    FOLDER.add_case(tmp_path, "b", "refused", [Finding("R04")])
    source = written(tmp_path).source
    legend = source[source.index('<section aria-labelledby="heading-codes"') :]
    assert re.findall(r'<th scope="row">(\w\d\d)</th>', legend) == ["R04", "W07", "W11"]


def test_without_a_code_there_is_no_empty_table(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a")
    assert "Codes that occur" not in written(tmp_path).source


def test_volumes_are_shown_with_what_limits_them(tmp_path: Path) -> None:
    FOLDER.add_case(
        tmp_path,
        "a",
        findings=[Finding("W08", {"label": "spleen", "dice": 0.4})],
        agreement={"liver": 0.97, "spleen": 0.4, "pancreas": None},
        volumes=[
            FOLDER.a_volume("liver", 1412.34, touches_border="RS", interpolated_ml=12.34),
            FOLDER.a_volume("spleen", 0.5678, components=3, largest_component_ml=0.5),
            FOLDER.a_volume("pancreas", 0.0),
        ],
    )
    card = written(tmp_path).card("a")
    row = r"liver\s+1412\s+0\.97\s+touches the image border \(right, top\); 12\.3 ml lie on interp"
    assert re.search(row, card)
    assert re.search(r"spleen\s+0\.568\s+0\.40 low\s+3 parts, the largest 0\.500 ml", card)
    assert "Not found: pancreas." in card


def test_volumes_of_the_record_stand_in_where_no_table_was_asked_for(tmp_path: Path) -> None:
    kept = [{"label": 1, "name": "liver", "volume_ml": 33.3, "touches_border": "none"}]
    record = FOLDER.add_case(tmp_path, "a") / "case.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"volumes": kept}))
    assert re.search(r"liver\s+33\.3", written(tmp_path).card("a"))


def test_nothing_identifies_a_patient(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a", pictures=["liver"], volumes=[FOLDER.a_volume("liver", 5)])
    FOLDER.add_run(tmp_path)
    page = written(tmp_path)
    for secret in FOLDER.SECRETS.values():
        assert secret not in page.source
    assert str(tmp_path) not in page.source
    assert not re.search(r"\b[0-2](?:\.\d+){4,}\b", page.text)


HOSTILE = """<script>alert(1)</script>"'&<img src=x onerror=alert(1)>"""


def test_every_text_is_escaped(tmp_path: Path) -> None:
    FOLDER.add_case(
        tmp_path,
        HOSTILE,
        folder="name",
        findings=[Finding("R09", {"name": HOSTILE, "package": HOSTILE})],
        volumes=[FOLDER.a_volume(HOSTILE, 4.0), FOLDER.a_volume(HOSTILE, 0.0)],
        agreement={HOSTILE: 0.5},
        pictures=[HOSTILE],
    )
    add = {"name": HOSTILE, "version": HOSTILE, "sha256": HOSTILE}
    FOLDER.add_run(tmp_path, bundle=add, software={"medsemi": HOSTILE}, end=HOSTILE)
    page = written(tmp_path)
    assert len(page.all("script")) == 1
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count("alert(1)") > 5
    assert all(str(image["src"]).startswith("data:") for image in page.all("img"))


def test_the_page_may_load_nothing_and_run_only_its_own_script(tmp_path: Path) -> None:
    FOLDER.add_case(
        tmp_path, "a b", pictures=["liver"], outputs=[{"file": "seg.dcm"}, {"file": "preview.png"}]
    )
    page = written(tmp_path)
    policy = page.all("meta")[1]["content"]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        content = re.search(rf"<{element}>(.*?)</{element}>", page.source, re.S)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in str(policy)
    for _, attributes in page.tags:
        assert "style" not in attributes
        if source := attributes.get("src"):
            assert source.startswith("data:image/webp;base64,")
        if target := attributes.get("href"):
            assert re.match(r"#[\w-]+$|cases/a%20b/[\w.]+$", target)
    assert "http" not in page.source.replace("http-equiv", "")


def test_the_page_is_sound_for_screen_readers(tmp_path: Path) -> None:
    FOLDER.add_case(
        tmp_path, "a", pictures=["liver", "spleen"], volumes=[FOLDER.a_volume("liver", 5)]
    )
    FOLDER.add_case(tmp_path, "b", "refused", [Finding("R04")])
    page = written(tmp_path)
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "main", "footer"):
        assert page.all(landmark)
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    named = {attributes.get("aria-labelledby") for _, attributes in page.tags} - {None}
    links = {str(a["href"])[1:] for a in page.all("a") if str(a["href"]).startswith("#")}
    assert named | links <= set(identities)
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(head.get("scope") for head in page.all("th"))
    images = page.all("img")
    assert len(images) == 2
    for image, name in zip(images, ("liver", "spleen"), strict=True):
        assert f"through {name}" in str(image["alt"])
        assert image["width"]


def relative_luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colors_can_be_told_apart_in_the_light_and_in_the_dark(repository: Path) -> None:
    style = (repository / "medsemi" / "prediction" / "report.css").read_text()
    schemes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))
        for part in re.findall(r":root \{(.*?)\}", style, re.S)[:2]
    ]
    pairs = [(ink, ground) for ink in ("ink", "faint", "accent") for ground in ("ground", "paper")]
    pairs += [(f, f"{f}-ground") for f in ("done", "warning", "refused", "failed", "skipped")]
    pairs += [("disclaimer", "disclaimer-ground"), ("warning", "paper")]
    for colors in schemes:
        for ink, ground in pairs:
            one, two = sorted(relative_luminance(colors[name]) for name in (ink, ground))
            assert (two + 0.05) / (one + 0.05) >= 4.5, (ink, ground)


def test_fifty_cases_fit_into_three_megabytes(tmp_path: Path) -> None:
    names = ["liver", "spleen", "pancreas", "left kidney"]
    first = FOLDER.add_case(tmp_path, "c00", pictures=names)
    sheet = (first / "structures.png").read_bytes()
    volumes = [FOLDER.a_volume(name, 12.3, touches_border="RL") for name in names]
    findings = [Finding("W18", {"label": name, "sides": "R, L"}) for name in names]
    for number in range(1, 50):
        place = FOLDER.add_case(tmp_path, f"c{number:02d}", findings=findings, volumes=volumes)
        (place / "structures.png").write_bytes(sheet)
    page = written(tmp_path)
    assert len(page.source.encode()) <= 3_000_000
    images = page.all("img")
    assert len(images) == 200
    # Even pure noise is shown at two fifths of its full size or more.
    assert min(int(str(image["width"])) for image in images) >= 290


def test_few_cases_have_larger_pictures(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a", pictures=["liver"])
    assert written(tmp_path).all("img")[0]["width"] == "728"


def test_above_three_hundred_cases_only_warnings_have_pictures(tmp_path: Path) -> None:
    for number in range(299):
        FOLDER.add_case(tmp_path, f"c{number:03d}", "skipped", [Finding("S04")])
    FOLDER.add_case(tmp_path, "good", pictures=["liver"])
    assert len(written(tmp_path).all("img")) == 1
    FOLDER.add_case(tmp_path, "warned", findings=[Finding("W11")], pictures=["spleen"])
    page = written(tmp_path)
    assert [image["alt"] for image in page.all("img") if "spleen" in str(image["alt"])]
    assert len(page.all("img")) == 1
    assert "More than 300 cases: pictures are shown for those with warnings only." in page.text


def test_an_incomplete_run_cannot_be_overlooked(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a")
    FOLDER.add_run(tmp_path, exit_code=130)
    (tmp_path / "cases" / "torn").mkdir()
    (tmp_path / "cases" / "torn" / "case.json").write_text('{"case')
    (tmp_path / "cases" / ".tmp-b-1-2").mkdir()
    page = written(tmp_path)
    assert "The run was interrupted" in page.text
    assert "The record of 1 cases cannot be read; they are not shown: torn." in page.text
    assert ".tmp" not in page.source


@pytest.mark.parametrize(
    ("code", "why"), [("E04", "the disk is full"), ("E10", "the model cannot be run")]
)
@pytest.mark.parametrize(("cases", "missing"), [(3, "2 of 3 cases are"), (2, "1 of 2 cases is")])
def test_a_run_that_was_stopped_cannot_be_overlooked(
    code: str, why: str, cases: int, missing: str, tmp_path: Path
) -> None:
    FOLDER.add_case(tmp_path, "c1")
    counts = {"outcome": {"done": 1}}
    FOLDER.add_run(tmp_path, exit_code=2, stopped_by=code, cases=cases, counts=counts)
    assert f"The run stopped because {why} ({code}): {missing} missing." in written(tmp_path).text


@pytest.mark.parametrize(
    ("unfinished", "said"),
    [
        ([2], "1 of its 20 parts have left no result yet (--shard 2/20),"),
        (list(range(2, 21)), "19 of its 20 parts have left no result yet (--shard 2/20, 3/20,"),
        (list(range(2, 21)), "11/20 and others), so that cases may be missing."),
    ],
)
def test_parts_of_a_run_that_have_not_ended_cannot_be_overlooked(
    unfinished: list[int], said: str, tmp_path: Path
) -> None:
    FOLDER.add_case(tmp_path, "c01")
    FOLDER.add_run(tmp_path, exit_code=2, shards={"count": 20, "unfinished": unfinished})
    assert said in written(tmp_path).text
    FOLDER.add_run(tmp_path, shards={"count": 20, "unfinished": []})
    assert "has not ended" not in written(tmp_path).text


def test_names_from_headers_and_other_models_are_pointed_out(tmp_path: Path) -> None:
    other = FOLDER.Model(Path(), "older", "0.9", "f" * 64, ("CT",), ())
    FOLDER.add_case(tmp_path, "a", model=other)
    FOLDER.add_case(tmp_path, "b")
    FOLDER.add_run(tmp_path, options={"names": "header"})
    page = written(tmp_path)
    assert "may identify patients" in page.text
    assert "Made with another model: older 0.9" in page.card("a")
    assert "another model" not in page.card("b")


@pytest.mark.parametrize("sheet", [b"", b"no picture"])
def test_a_damaged_sheet_costs_only_its_pictures(tmp_path: Path, sheet: bytes) -> None:
    place = FOLDER.add_case(tmp_path, "a", volumes=[FOLDER.a_volume("liver", 5)])
    (place / "structures.png").write_bytes(sheet)
    page = written(tmp_path)
    assert not page.all("img")
    assert "liver" in page.card("a")


def test_an_empty_folder_gives_a_page(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "0 All" in page.text


def test_the_same_folder_gives_the_same_page_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    FOLDER.add_case(tmp_path, "a", pictures=["liver"])
    first = written(tmp_path).source
    assert written(tmp_path).source == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases", "report.html"]
