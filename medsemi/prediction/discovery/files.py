"""Which files there are, and what each is by its content, whatever it is called."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medsemi.prediction.codes import RunStopped
from medsemi.prediction.discovery.itk_files import is_meta_image, is_nrrd
from medsemi.prediction.discovery.nifti import GZIP_MARK, is_nifti, start_of
from medsemi.prediction.earlier import holds_results

Content = Literal["dicom", "maybe_dicom", "nifti", "nrrd", "mha", "damaged", "other"]
_DICOM_ENDINGS = (".dcm", ".ima")
_NIFTI_ENDINGS = (".nii", ".nii.gz")
# Endings that claim to be an image: what cannot be read then is told, not ignored.
CLAIMS = (*_DICOM_ENDINGS, *_NIFTI_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an INPUT.

    Attributes:
        path: of the file.
        name: path relative to the INPUT.
        root: number of the INPUT.
        direct: whether the INPUT is this file or its folder.
        hidden: whether it is passed over: its name starts with a dot, it is a link, or it is a folder
            with results of an earlier run.
    """

    path: Path
    name: str
    root: int
    direct: bool
    hidden: bool = False

    @property
    def claims(self) -> bool:
        """Whether its name says that it is an image."""
        return self.name.lower().endswith(CLAIMS)


def find_files(inputs: Sequence[Path]) -> list[Found]:
    """Walk the inputs, sorted, without following links; each file once.

    Args:
        inputs: folders and files.

    Raises:
        RunStopped: E12 if an input does not exist, or cannot be looked at.
    """
    found: dict[str, Found] = {}
    for number, root in enumerate(inputs):
        check_there(root)
        if root.is_dir():
            files = _walk(root, number)
        else:
            files = iter([Found(root, root.name, number, True, root.name.startswith("."))])
        for file in files:
            # A link is another thing than the file that it leads to.
            place = os.path.abspath if file.hidden else os.path.realpath
            found.setdefault(place(file.path), file)
    return list(found.values())


def check_there(path: Path) -> None:
    """Refuse an input that does not exist, or cannot be looked at.

    Raises:
        RunStopped: E12.
    """
    try:
        there = path.exists()
    except OSError as error:
        why = f"{path.name or path} cannot be looked at ({error.strerror})"
        raise RunStopped("E12", why=why) from error
    if not there:
        raise RunStopped("E12", why=f"{path.name or path} does not exist")


def _walk(root: Path, number: int) -> Iterator[Found]:
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=closed.append):
        here = Path(folder)
        hidden = {name for name in [*folders, *names] if _is_passed_over(here / name)}
        folders[:] = sorted(name for name in folders if name not in hidden)
        for name in sorted([*names, *(hidden - {*names})]):
            path = here / name
            if name in hidden or _is_file(path):
                relative = path.relative_to(root).as_posix()
                yield Found(path, relative, number, here == root, name in hidden)
    for error in closed:
        path = Path(error.filename)
        yield Found(path, path.relative_to(root).as_posix(), number, False)


def _is_passed_over(path: Path) -> bool:
    with suppress(OSError):
        return path.name.startswith(".") or path.is_symlink() or _holds_results(path)
    return False


def _holds_results(path: Path) -> bool:
    """Whether an earlier run wrote into this folder: label maps are no scans."""
    return (path / "cases").is_dir() and holds_results(path)


def _is_file(path: Path) -> bool:
    """Whether this is a file, or may be one: its folder can be listed and not entered."""
    try:
        return path.is_file()
    except OSError:
        return True


def content_of(file: Found) -> Content:
    """What a file is, told from its first bytes; `damaged` if it only claims to be an image."""
    if file.hidden:
        return "other"
    try:
        with file.path.open("rb") as stream:
            start = stream.read(1024)
    except OSError:
        return "damaged"  # a folder that cannot be listed too
    known = _known(start)
    if known is not None:
        return known
    if start.startswith(GZIP_MARK) and file.name.lower().endswith(_NIFTI_ENDINGS):
        return "nifti" if _holds_nifti(file.path) else "damaged"
    return "damaged" if file.claims else "other"


def _known(start: bytes) -> Content | None:
    if start[128:132] == b"DICM":
        return "dicom"
    if is_nifti(start):
        return "nifti"
    if is_nrrd(start):
        return "nrrd"
    if is_meta_image(start):
        return "mha"
    # Without preamble: the first element is of group 2 or 8, in little endian.
    return "maybe_dicom" if start[:2] in {b"\x02\x00", b"\x08\x00"} else None


def _holds_nifti(path: Path) -> bool:
    try:
        return is_nifti(start_of(path))
    except (OSError, EOFError, zlib.error):
        return False
