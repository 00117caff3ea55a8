"""Which files there are, and what each is by its content, whatever it is called."""

from __future__ import annotations

import errno
import os
import stat
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

Content = Literal[
    "dicom",
    "maybe_dicom",
    "nifti",
    "nrrd",
    "mha",
    "damaged",
    "other",
    "linked_folder",
    "broken_link",
]
Leads = Literal["no link", "file", "folder", "nowhere", "elsewhere"]
PassedOver = Literal["hidden", "results"]
_DICOM_ENDINGS = (".dcm", ".ima")
_NIFTI_ENDINGS = (".nii", ".nii.gz")
# Endings that claim to be an image: what cannot be read then is told, not ignored.
CLAIMS = (*_DICOM_ENDINGS, *_NIFTI_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd")


# What a link is that is not followed.
_LINKS: dict[Leads, Content] = {"folder": "linked_folder", "nowhere": "broken_link"}


@dataclass(frozen=True, slots=True)
class Found:
    """A file of an INPUT.

    Attributes:
        path: of the file.
        name: path relative to the INPUT.
        root: number of the INPUT.
        direct: whether the INPUT is this file or its folder.
        passed_over: `hidden` if its name starts with a dot, `results` if it is a folder with results of
            an earlier run.
        leads: where a link leads; `nowhere` if that is not there, `elsewhere` if it is neither file
            nor folder.
    """

    path: Path
    name: str
    root: int
    direct: bool
    passed_over: PassedOver | None = None
    leads: Leads = "no link"

    @property
    def claims(self) -> bool:
        """Whether its name says that it is an image."""
        return self.name.lower().endswith(CLAIMS)

    @property
    def place(self) -> str:
        """Where it lies itself; a link that is passed over is another thing than what it leads to."""
        itself = self.passed_over is not None or self.leads == "elsewhere"
        place = os.path.abspath if itself else os.path.realpath
        return place(self.path)


def find_files(inputs: Sequence[Path]) -> list[Found]:
    """Walk the inputs, sorted, following links to files and not to folders; each file once.

    A file counts under its own name where that and links to it lie in one INPUT.

    Args:
        inputs: folders and files.

    Raises:
        RunStopped: E12 if an input does not exist, cannot be looked at, or is neither file nor folder.
    """
    found: dict[str, Found] = {}
    for number, root in enumerate(inputs):
        check_there(root)
        for file in _found_under(root, number):
            first = found.setdefault(file.place, file)
            if (first.root, first.leads, file.leads) == (number, "file", "no link"):
                found[file.place] = file
    return list(found.values())


def _found_under(root: Path, number: int) -> Iterator[Found]:
    if not root.is_dir():
        hidden: PassedOver | None = "hidden" if root.name.startswith(".") else None
        return iter([Found(root, root.name, number, True, hidden)])
    with suppress(OSError):
        if _holds_results(root):
            return iter([Found(root, root.name, number, True, "results")])
    return _walk(root, number)


def check_there(path: Path) -> None:
    """Refuse an input that does not exist, cannot be looked at, or is neither file nor folder.

    Raises:
        RunStopped: E12.
    """
    try:
        there = path.exists()
        other = there and not (path.is_file() or path.is_dir())
    except OSError as error:
        why = f"{path.name or path} cannot be looked at ({error.strerror})"
        raise RunStopped("E12", why=why) from error
    if not there:
        why = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
        raise RunStopped("E12", why=f"{path.name or path} {why}")
    if other:
        # Opening a pipe would wait for its other end.
        why = f"{path.name} is neither a file nor a folder; name a folder with images"
        raise RunStopped("E12", why=why)


def _walk(root: Path, number: int) -> Iterator[Found]:
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=closed.append):
        here = Path(folder)
        leads = {name: _leads_to(here / name) for name in [*folders, *names]}
        over = {name: _passed_over(here / name) for name in leads}
        walked = {name for name in folders if leads[name] == "no link" and over[name] is None}
        folders[:] = sorted(walked)
        for name in sorted(leads.keys() - walked):
            path = here / name
            if over[name] is not None or leads[name] != "no link" or _is_file(path):
                relative = path.relative_to(root).as_posix()
                yield Found(path, relative, number, here == root, over[name], leads[name])
    for error in closed:
        path = Path(error.filename)
        yield Found(path, path.relative_to(root).as_posix(), number, False)


def _passed_over(path: Path) -> PassedOver | None:
    if path.name.startswith("."):
        return "hidden"
    with suppress(OSError):
        return "results" if _holds_results(path) else None
    return None


def _leads_to(path: Path) -> Leads:
    """Where a link leads; what may not be looked at counts as a file, and is told when it is opened."""
    try:
        if not path.is_symlink():
            return "no link"
    except OSError:
        return "no link"
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nowhere"
    except OSError as error:
        return "elsewhere" if error.errno == errno.ELOOP else "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "elsewhere"


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
    if file.passed_over is not None or file.leads == "elsewhere":
        return "other"
    if file.leads in _LINKS:
        return _LINKS[file.leads]
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


def first_image(folder: Path) -> str | None:
    """The first file of a folder that is an image, or may be one.

    Args:
        folder: need not exist.

    Returns:
        Its path relative to the folder; None without one, and for a folder with results. Links that
        no search follows are none.
    """
    files = find_files([folder]) if folder.is_dir() else []
    nothing = ("other", *_LINKS.values())
    return next((file.name for file in files if content_of(file) not in nothing), None)


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
