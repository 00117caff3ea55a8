"""Headers that are malformed, or made to do harm: no segmentation object, and nothing else is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom._standard_utils import get_module_attribute_map

from medsemi.prediction.case import Case
from medsemi.prediction.outputs.source_headers import (
    MOST_LEVELS,
    SegImpossible,
    read_source_headers,
)
from medsemi.prediction.outputs.taken_over import OF_FIRST
from medsemi.prediction.reading.silence import silence

REFERENCED_IMAGES, REFERENCED_STUDIES = 0x00081140, 0x00081110
SERIES_DESCRIPTION, PATIENT_ID = 0x0008103E, 0x00100020
COPIED_MODULES = (
    *("patient", "clinical-trial-subject", "general-study", "patient-study"),
    *("clinical-trial-study", "specimen"),
)
MOST_SECONDS, MOST_BYTES = 120, 4 << 30
READ = """
import sys
from pathlib import Path
from medsemi.prediction.discovery.scan import discover
from medsemi.prediction.options import Options
from medsemi.prediction.outputs.source_headers import SegImpossible, read_source_headers

(case,) = discover([Path(sys.argv[1])], Options(workers=1)).cases
try:
    print(len(read_source_headers(case).images))
except SegImpossible as error:
    print(error)
"""


def nested(tag: int, levels: int) -> bytes:
    """A sequence of defined length in explicit little endian that holds one in each of its items."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"SQ\0\0"
    content = b""
    for _ in range(levels):
        item = b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content
        content = head + len(item).to_bytes(4, "little") + item
    return content


def put(path: Path, tag: int, element: bytes) -> None:
    """Put the bytes of an element where it belongs in a file of explicit little endian."""
    content = path.read_bytes()
    after = next(each for each in pydicom.dcmread(path) if each.tag > tag)
    head = after.tag.group.to_bytes(2, "little") + after.tag.element.to_bytes(2, "little")
    place = content.index(head + after.VR.encode(), 132)
    path.write_bytes(content[:place] + element + content[place:])


@pytest.fixture
def spoiled(edited: Callable[..., Path]) -> Callable[..., Path]:
    """A copy of a set in each of whose slices an element has been put."""

    def spoil(tag: int, element: bytes) -> Path:
        def drop(image: pydicom.Dataset) -> None:
            image.pop(tag, None)

        folder = edited("ct_axial_noext", drop)
        for path in folder.iterdir():
            put(path, tag, element)
        return folder

    return spoil


def read_apart(folder: Path) -> str:
    """What reading the headers says, in a process that may take neither time nor memory for ever."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))

    process = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        preexec_fn=limit,
        check=False,
    )
    return process.stdout.strip() or process.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize(
    ("tag", "levels", "said"),
    [
        (REFERENCED_IMAGES, 345, "images"),
        (REFERENCED_STUDIES, 345, f"more than {MOST_LEVELS} deep"),
        (SERIES_DESCRIPTION, 1200, "images"),  # a text, if the dictionary is right
        (PATIENT_ID, 1200, f"more than {MOST_LEVELS} deep"),
    ],
)
def test_sequences_in_sequences_neither_hang_nor_fill_the_memory(
    spoiled: Callable[..., Path], tag: int, levels: int, said: str
) -> None:
    folder = spoiled(tag, nested(tag, levels))
    heard = read_apart(folder)
    expected = str(len(list(folder.iterdir()))) if said == "images" else said
    assert heard.endswith(expected)


def test_a_few_levels_are_no_obstacle(
    spoiled: Callable[..., Path], make_case: Callable[..., Case]
) -> None:
    case = make_case(spoiled(REFERENCED_STUDIES, nested(REFERENCED_STUDIES, MOST_LEVELS - 2)))
    assert len(read_source_headers(case).images) == len(case.source.slices)


def unknown(tag: int) -> bytes:
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return head + b"ZZ\x04\x00abcd"


def test_a_value_of_unknown_type_is_no_obstacle_where_it_is_not_needed(
    spoiled: Callable[..., Path], make_case: Callable[..., Case]
) -> None:
    case = make_case(spoiled(0x00181030, unknown(0x00181030)))  # ProtocolName
    assert len(read_source_headers(case).images) == len(case.source.slices)


def test_a_value_of_unknown_type_makes_it_impossible_where_it_is_needed(
    spoiled: Callable[..., Path], make_case: Callable[..., Case]
) -> None:
    case = make_case(spoiled(0x00104000, unknown(0x00104000)))  # PatientComments
    with silence, pytest.raises(SegImpossible, match=r"standard \(NotImplementedError\)"):
        read_source_headers(case)


def test_all_that_a_segmentation_repeats_is_read() -> None:
    modules: dict[str, list[dict[str, Any]]] = get_module_attribute_map()
    copied = {
        each["keyword"] for name in COPIED_MODULES for each in modules[name] if not each["path"]
    }
    assert copied
    assert copied <= {*OF_FIRST}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, about the number
def test_a_number_that_is_none_makes_it_impossible(
    spoiled: Callable[..., Path], make_case: Callable[..., Case]
) -> None:
    case = make_case(spoiled(0x00200011, b"\x20\0\x11\0IS\x04\0inf "))  # SeriesNumber
    with silence, pytest.raises(SegImpossible, match=r"standard \(OverflowError\)"):
        read_source_headers(case)
