"""Takes numbers of mutants on standard input and tells what became of each, one JSON line each.

A process of its own, because what is looked for are crashes, endless loops and memory.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import oracle
from mutations import PARSED, SAME, Mutant, mutate

from medsemi.prediction.case import Case, Volume
from medsemi.prediction.codes import CODES, CaseRefused
from medsemi.prediction.discovery.scan import Scan, discover
from medsemi.prediction.options import Options
from medsemi.prediction.reading import volume as reading
from medsemi.prediction.reading.pixels import open_frames, pixel_digest

ADDRESS_SPACE = 6 << 30
LARGEST_GROWTH_KB = {"VmPeak": 700 << 10, "VmHWM": 400 << 10}
# How much of a campaign goes to each kind of base.
SHARES = {"stack": 0.5, "nifti": 0.2, "alone": 0.2, "itk": 0.1}
# Put in on purpose, in turn, to show that each would be found.
FAULTS = ("crash", "hang", "memory", "values", "place", "code")


@dataclass(frozen=True)
class Base:
    """A good folder, of which one file at a time is damaged."""

    folder: Path

    @property
    def kind(self) -> str:
        """`stack`, `alone`, `nifti` or `itk`."""
        return self.folder.name.split("-")[0]

    @property
    def files(self) -> list[Path]:
        """All files, sorted."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Found:
    """What the program makes of a folder: each case, and its voxels or the code of its refusal."""

    scan: Scan
    volumes: tuple[tuple[Case, Volume], ...]
    refused: tuple[str, ...]


def run(folder: Path, fault: str = "") -> Found:
    """Discover and read.

    Raises:
        AssertionError: if something is refused without a code that has a sentence.
    """
    scan = discover([folder], Options(series="all", workers=1))
    volumes, refused = [], []
    for case in scan.cases:
        for finding in case.findings:
            check_sentence(finding.code, str(finding), folder)
        if case.outcome != "predict":
            assert any(code in CODES and code[0] in "SRU" for code in case.codes), case.codes
            refused += case.codes
            continue
        try:
            volumes.append((case, spoiled(reading.read_volume(case, 0.0), fault)))
        except CaseRefused as error:
            refused.append(error.finding.code)
            check_sentence(error.finding.code, str(error.finding), folder)
    return Found(scan, tuple(volumes), tuple(refused))


def check_sentence(code: str, text: str, folder: Path) -> None:
    """A code has a sentence, and the sentence names no folder."""
    assert code in CODES, code
    assert str(folder.parent) not in text, f"{code} names a folder"


def spoiled(volume: Volume, fault: str) -> Volume:
    """The fault that a self-test asked for."""
    if fault == "crash":
        os.abort()
    while fault == "hang":
        time.process_time()
    if fault == "memory":
        np.ones(500 << 20, np.uint8)
    if fault == "code":
        raise CaseRefused("R99")
    if fault == "values":
        volume.values[..., -1] += 1
    return volume


@cache
def good(folder: Path) -> Found:
    """What an undamaged folder holds."""
    return run(folder)


@cache
def good_plane(path: Path, frame: int) -> oracle.Plane:
    """A plane of an undamaged DICOM file."""
    return oracle.dicom_plane(path.read_bytes(), frame)


def check(base: Base, found: Found, damaged: Path, original: bytes, mutant: Mutant) -> None:
    """Compare what was read with what may be said of the mutant.

    Raises:
        oracle.Contradiction: if something else was read.
    """
    before = good(base.folder)
    silent = len(found.volumes) < len(before.volumes) and not (
        found.refused or found.scan.ignored or any(case.codes for case, _ in found.volumes)
    )
    if silent:
        raise oracle.Contradiction("a case vanished without a word")
    for case, volume in found.volumes:
        if base.kind == "stack":
            check_stack(case, volume, damaged, original, mutant)
        elif mutant.allows == SAME:
            same, expected = before.volumes[case.source.volume or 0]
            assert same.grid is not None
            truth = oracle.Lattice(expected.values, same.grid.affine)
            oracle.check_lattice(case, volume, truth)
        elif base.kind == "nifti":
            oracle.check_lattice(case, volume, oracle.nifti_lattice(mutant.data))
        else:
            oracle.check_lattice(case, volume, oracle.itk_lattice(damaged))


def check_stack(case: Case, volume: Volume, damaged: Path, original: bytes, mutant: Mutant) -> None:
    """Planes of good files are as they were; that of the damaged one as the mutant allows."""
    planes = []
    for source in case.source.slices:
        if source.path != damaged:
            planes.append([good_plane(source.path, source.frame)])
            continue
        planes.append([oracle.dicom_plane(original, source.frame)])
        if mutant.allows == PARSED:
            # Where the independent parser gives up, only the intact image may be read.
            with suppress(Exception):
                planes[-1].append(oracle.dicom_plane(mutant.data, source.frame))
    oracle.check_dicom(case, volume, planes)


def check_alone(base: Base, path: Path, original: bytes, mutant: Mutant) -> None:
    """A file that is no volume: its frames decode to what they were, or are refused with a code."""
    try:
        assert len(pixel_digest(path)) == 64
        with open_frames(path) as frames:
            stored = frames.stored(0)
    except CaseRefused as error:
        check_sentence(error.finding.code, str(error.finding), base.folder)
        return
    if mutant.allows != SAME:
        return
    path.write_bytes(original)
    # What is refused in the good file, such as 12 bit JPEG, may be read under another name.
    with suppress(CaseRefused), open_frames(path) as frames:
        if not np.array_equal(frames.stored(0), stored):
            raise oracle.Contradiction("pixels differ")


def memory() -> dict[str, int]:
    """Peaks of this process in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = (line.split(":") for line in lines)
    return {key: int(value.split()[0]) for key, value in pairs if key in LARGEST_GROWTH_KB}


def judge(bases: list[Base], seed: int, number: int, fault: str) -> dict[str, object]:
    """Make mutant `number`, let the program read it, and tell what is wrong, if anything."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    alike = [base for base in bases if base.kind == kind]
    base = alike[int(rng.integers(len(alike)))]
    path = base.files[int(rng.integers(len(base.files)))]
    original = path.read_bytes()
    if base.kind != "alone":
        good(base.folder)
    mutant = mutate(base.kind, original, rng)
    before, start = memory(), time.process_time()
    verdict: dict[str, object] = {"number": number, "base": base.folder.name, "what": mutant.what}
    path.write_bytes(mutant.data)
    try:
        found = run(base.folder, fault)
        peak = memory()
        for key, most in LARGEST_GROWTH_KB.items():
            assert peak[key] - before[key] <= most, f"{key} grew by {peak[key] - before[key]} kB"
        if fault == "place" and found.volumes:
            found.volumes[0][0].grid.affine[0, 3] += 5
        if base.kind == "alone":
            check_alone(base, path, original, mutant)
        else:
            check(base, found, path, original, mutant)
        verdict["codes"] = sorted(set(found.refused))
        verdict["read"] = len(found.volumes)
    # Whatever escapes is what is looked for, and the campaign goes on.
    except Exception as error:
        verdict["wrong"] = f"{type(error).__name__}: {error}"
    finally:
        path.write_bytes(original)
    verdict["seconds"] = time.process_time() - start
    return verdict


def main() -> None:
    """Work until standard input ends."""
    folder, seed, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    # Libraries print; their lines must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    bases = [Base(path) for path in sorted(folder.iterdir())]
    for line in sys.stdin:
        number = int(line)
        chosen = FAULTS[number % len(FAULTS)] if fault == "all" else ""
        verdict = judge(bases, seed, number, chosen)
        answers.write(json.dumps(verdict) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
