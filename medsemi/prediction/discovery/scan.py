"""All cases of some folders and files, found from headers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from medsemi.prediction.case import Case, Source
from medsemi.prediction.codes import Finding
from medsemi.prediction.discovery.candidates import Selection, decide
from medsemi.prediction.discovery.dicom import UnreadableFileError, read_header
from medsemi.prediction.discovery.draft import Draft
from medsemi.prediction.discovery.files import Content, Found, content_of, find_files
from medsemi.prediction.discovery.grouping import in_series
from medsemi.prediction.discovery.header import Header
from medsemi.prediction.discovery.identity import (
    case_ids,
    names_in_any_run,
    told_apart,
    unique,
)
from medsemi.prediction.discovery.itk_files import read_itk_header
from medsemi.prediction.discovery.lattice import LEAST_POSITIONS
from medsemi.prediction.discovery.nifti import read_nifti_header
from medsemi.prediction.discovery.series import Series
from medsemi.prediction.discovery.whole_files import WholeFile
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options
from medsemi.prediction.reading.silence import silence

LEAST_SLICES = 3
TELL_EVERY = 50


@dataclass(frozen=True)
class Scan:
    """What some folders and files hold.

    Attributes:
        cases: all of them, in an order that depends neither on the names of DICOM files nor on the
            number of threads.
        ignored: path relative to its INPUT, and S01 or S14, of files that are no images and of folders
            with results.
        files: how many files there are, ignored ones included.
    """

    cases: tuple[Case, ...]
    ignored: tuple[tuple[str, Finding], ...]
    files: int


@dataclass(frozen=True)
class _Told:
    """What may be an image and cannot be read, with the code that says why."""

    file: Found
    code: str


_Seen = Header | WholeFile | _Told | None
_CODES: dict[Content, str] = {"damaged": "U01", "broken_link": "U02", "linked_folder": "S13"}


def discover(
    inputs: Sequence[Path],
    options: Options,
    model: Model | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """Find the cases in some folders and files.

    Args:
        inputs: folders, which are walked, and files.
        options: of the user.
        model: whose demands decide what is a candidate; None accepts all modalities.
        progress: is told how many files have been looked at so far.

    Returns:
        Every file is ignored or in a case; a damaged file, or a link that cannot be followed, is a
        case of its own and stops nothing.

    Raises:
        RunStopped: E12 if an input does not exist, E13 if `options.series` names nothing.
    """
    files = find_files(inputs)
    with silence:
        seen = list(_look_at_all(files, options.workers, progress))
        drafts = told_apart(_drafts(seen, options, model.min_slices if model else LEAST_SLICES))
    ignored = tuple(
        (file.name, Finding("S14" if file.passed_over == "results" else "S01"))
        for file, what in zip(files, seen, strict=True)
        if what is None
    )
    selection = Selection(options, model)
    drafts.sort(key=_order)
    with_dicom = {
        file.root for file, what in zip(files, seen, strict=True) if isinstance(what, Header)
    }
    roots = {str(file.path): file.root for file in files}
    gathered = selection.gather(drafts, case_ids(drafts, options.names))
    # The volumes of a file that are joined leave their numbers, and may meet another name.
    cases = [
        replace(
            decide(draft, name, selection, roots[str(draft.source.path)] not in with_dicom),
            names=names_in_any_run(draft, options.names),
        )
        for (draft, _), name in zip(gathered, unique(gathered), strict=True)
    ]
    return Scan(tuple(cases), ignored, len(files))


def _look_at_all(
    files: Sequence[Found], workers: int, progress: Callable[[int], None] | None
) -> Iterator[_Seen]:
    """What each file is, in their order."""
    pool = ThreadPoolExecutor(workers)
    try:
        for count, what in enumerate(pool.map(_look_at, files, chunksize=1), start=1):
            if progress and (count % TELL_EVERY == 0 or count == len(files)):
                progress(count)
            yield what
    finally:
        # An interrupted scan does not wait for the files that are left.
        pool.shutdown(cancel_futures=True)


def _look_at(file: Found) -> _Seen:
    content = content_of(file)
    try:
        if content in {"dicom", "maybe_dicom"}:
            return read_header(file.path, file.name)
        if content == "nifti":
            return read_nifti_header(file.path, file.name, file.direct)
        if content == "nrrd" or content == "mha":
            return read_itk_header(file.path, file.name, content, file.direct)
    except UnreadableFileError:
        if content == "maybe_dicom" and not file.claims:
            return None
        return _Told(file, "U01")
    return _Told(file, _CODES[content]) if content in _CODES else None


def _drafts(seen: Sequence[_Seen], options: Options, least: int) -> list[Draft]:
    headers: list[Header] = []
    drafts: list[Draft] = []
    for what in seen:
        if isinstance(what, Header):
            headers.append(what)
        elif isinstance(what, WholeFile):
            drafts += what.drafts(options, least)
        elif what is not None:
            drafts.append(_told(what.file, what.code))
    for group in in_series(headers):
        series = Series(group.key, group.members, options, max(least, LEAST_POSITIONS))
        for draft in series.drafts():
            stack = draft.group.removeprefix(group.key)
            drafts.append(replace(draft, groups=tuple(key + stack for key in group.keys)))
    return drafts


def _told(file: Found, code: str) -> Draft:
    name = file.name.lower()
    kind = "nifti" if name.endswith((".nii", ".nii.gz")) else "none"
    category = "unreadable" if code[0] == "U" else "not_image"
    return Draft(
        group=f"file {file.name}",
        volume="",
        volumes=1,
        category=category,
        flags=(category,),
        source=Source("nifti" if kind == "nifti" else "none", "", file.path, file.name, 1),
        findings=(Finding(code),),
        header_name=file.name,
        path_name=file.name,
    )


def _order(draft: Draft) -> tuple[object, ...]:
    """DICOM by study, series, stack and volume; then other files by path."""
    tags = draft.source.tags
    number = str(tags.get("series_number", ""))
    rank = int(number) if number.isdecimal() else -1
    volume = -1 if draft.source.volume is None else draft.source.volume
    if draft.source.kind != "dicom":
        return (1, draft.source.name, volume)
    return (0, str(tags.get("study_uid", "")), rank, draft.group, volume)
