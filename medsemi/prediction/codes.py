"""The stable codes: what may be said about a case or a run, and what to do next.

S skipped, no candidate; R refused, looked like a target and is unsafe; U unreadable; W warning, the
result stands; E error of the run. A code keeps its meaning for ever; its sentence may improve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DISCLAIMER = (
    "Research software, not a medical device. Not for diagnosis or treatment; a qualified person"
    " must check every result."
)


@dataclass(frozen=True, slots=True)
class CodeText:
    """What a code says.

    Attributes:
        sentence: with `{name}` where a value stands, and `{name:one|many}` where words follow it.
        advice: what the reader does next; empty where nothing needs to be done.
    """

    sentence: str
    advice: str = ""

    @property
    def general(self) -> tuple[str, str]:
        """Sentence and advice for any case: `…` where a value stands."""
        sentence = _WORDS.sub(r"\3", self.sentence)
        return _VALUE.sub("…", sentence), _VALUE.sub("…", self.advice)

    def filled(self, values: Mapping[str, Any]) -> str:
        """Sentence and advice for one case.

        Args:
            values: of the sentence; plain JSON values.
        """
        words = _WORDS.sub(lambda m: m[2] if values[m[1]] == 1 else m[3], self.sentence)
        return f"{words} {self.advice}".strip().format_map(values)


_VALUE = re.compile(r"\{\w+\}")
_WORDS = re.compile(r"\{(\w+):([^{}|]*)\|([^{}|]*)\}")

CODES: dict[str, CodeText] = {
    "S01": CodeText("Ignored: not a medical image file."),
    "S02": CodeText("Not an image (report, plan, segmentation or similar)."),
    "S03": CodeText("Screenshot or color picture, not scanner data."),
    "S04": CodeText("Localizer (overview images)."),
    "S05": CodeText("Fewer than {least} slice positions ({n})."),
    "S06": CodeText("Mosaic images are not unpacked.", "Export the series as single slices."),
    "S07": CodeText("Images carry no position, orientation or pixel size."),
    "S08": CodeText(
        "Modality {modality} is not what this model expects ({expected}).",
        "Take a model that was trained on it. NIfTI, NRRD and MetaImage files tell no modality: beside DICOM"
        " they are segmented where the file or its folder is named, or with --series all.",
    ),
    "S09": CodeText(
        "{v} volumes in one series.",
        "Choose one with --series CASE#1 to CASE#{v} (CASE is what names this line), or all.",
    ),
    "S10": CodeText("Not selected.", "Name it with --series, or take --series all."),
    "S11": CodeText("Phase, real or imaginary image; only magnitude is used."),
    "S12": CodeText("Already done with the same input, model and options."),
    "S13": CodeText(
        "A link to a folder, which is not followed.",
        "Name that folder too if its scans are wanted.",
    ),
    "S14": CodeText("Passed over: a folder with results of predict, which are no scans."),
    "R01": CodeText(
        "{k} {k:slice is|slices are} missing after slice {after}.",
        "Send the series again, or use --gaps fill if few are missing.",
    ),
    "R02": CodeText(
        "Slice distances vary from {least} to {most} mm.",
        "Send the series again, or use --gaps fill.",
    ),
    "R03": CodeText("Gantry tilt of {degrees} degrees.", "Use --tilt resample."),
    "R04": CodeText(
        "Files with the same identity hold different images, or name different patients.",
        "Export the series again.",
    ),
    "R05": CodeText(
        "Slice positions repeat {v} times but cannot be told apart.",
        "Export one volume at a time.",
    ),
    "R06": CodeText(
        "Incomplete: {k} {k:image is|images are} missing from {where}.", "Send the series again."
    ),
    "R07": CodeText(
        "Pixel data is shorter than the header says ({file}).", "Copy or send the file again."
    ),
    "R08": CodeText("Pixel type not supported ({why}).", "Export gray values of one number each."),
    "R09": CodeText(
        "Compression {name} needs the package {package}.",
        "Install it, or export without compression.",
    ),
    "R10": CodeText(
        "The header does not say where the image lies ({why}).",
        "Export the image again with its orientation.",
    ),
    "R11": CodeText(
        "Needs about {needed} GB, {free} GB are free, even in the smallest mode.",
        "Use a machine with more memory.",
    ),
    "R12": CodeText("Warning {warning} refused because of --strict.", "Leave --strict out."),
    "R13": CodeText(
        "Images of {n} patients carry the identity of one series.",
        "Export each patient again, or segment the files of each in a run of their own.",
    ),
    "U01": CodeText("Damaged or unreadable file.", "Copy or export it again."),
    "U02": CodeText(
        "A link to a file that is not there.", "Fetch or copy the file that it leads to."
    ),
    "W01": CodeText("Identifiers are empty; grouped by folder and patient."),
    "W02": CodeText("{n} identical {n:copy|copies} left out."),
    "W03": CodeText(
        "{n} {n:image|images} of another kind, size or frame left out of this stack.",
        "Check whether the whole organ is covered.",
    ),
    "W04": CodeText(
        "Gantry tilt of {degrees} degrees: computed on a straightened copy, result on the original"
        " slices."
    ),
    "W05": CodeText(
        "{k} missing {k:slice was|slices were} interpolated.",
        "Check the result near slice {after}.",
    ),
    "W06": CodeText("Uneven slices were interpolated to {mm} mm."),
    "W07": CodeText(
        "Only {n} {n:slice|slices} (fewer than 10).", "Check whether the whole organ is covered."
    ),
    "W08": CodeText(
        "Student and teacher network disagree on {label} (Dice {dice}).", "Check this case first."
    ),
    "W09": CodeText("The header says that text is burned into the image."),
    "W10": CodeText("Secondary capture used as a volume.", "Prefer the original series."),
    "W11": CodeText("Lossy compressed input.", "Prefer the original series."),
    "W12": CodeText("NIfTI sform and qform disagree by {mm} mm; sform used."),
    "W13": CodeText("NIfTI pixdim and affine disagree; affine used."),
    "W14": CodeText("{n} {n:voxel is|voxels are} not finite; replaced."),
    "W15": CodeText("The affine is sheared; computed on a straightened copy."),
    "W16": CodeText(
        "Outside the range of the training data: {what}.", "Do not rely on this result unchecked."
    ),
    "W17": CodeText("Nothing was found.", "Check the image: orientation, contrast, body part."),
    "W18": CodeText(
        "{label} touches the image border ({sides}); its volume may be too small.",
        "Check whether the organ is cut off.",
    ),
    "W19": CodeText(
        "DICOM SEG not written: {why}.", "Use seg.nii.gz, which --outputs nifti writes."
    ),
    "W20": CodeText("NIfTI units are {unit}; converted to mm."),
    "W21": CodeText("Not enough memory for fast mode; used mode {mode}."),
    "W22": CodeText("MONOCHROME1; stored values used as they are."),
    "E01": CodeText("Out of memory in every mode.", "Use a machine with more memory."),
    "E02": CodeText("The network failed: {error}.", "Send run.log to whoever made the model."),
    "E03": CodeText("Output could not be written or verified: {why}.", "Run the command again."),
    "E04": CodeText(
        "Disk full: {free} GB are free, up to {needed} GB are needed.",
        "Free some space and run the command again.",
    ),
    "E05": CodeText("Internal error {id}; details in run.log.", "Report it with run.log."),
    "E10": CodeText("Model bundle invalid: {why}."),
    "E11": CodeText(
        "Output folder is in use by another run ({host}, {pid}).",
        "Wait for it, or take another --out.",
    ),
    "E12": CodeText("No input files found: {why}."),
    "E13": CodeText("Option error: {why}."),
    "E14": CodeText("Interrupted.", "Run the same command again; what is done stays done."),
    "E15": CodeText(
        "Output folder {out} cannot be written ({why}).",
        "Choose another --out, or see to it that files can be written there.",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One code with the values of its sentence.

    Attributes:
        code: key of `CODES`.
        values: what stands in the sentence; plain JSON values, never an identifying tag.
    """

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence, and what to do next."""
        return CODES[self.code].filled(self.values)

    def __str__(self) -> str:
        """`R03 Gantry tilt …`."""
        return f"{self.code} {self.text}"


class CaseRefused(Exception):  # noqa: N818  (a case is refused; the run goes on)
    """A case cannot be used safely; the run goes on with the next one."""

    def __init__(self, code: str, **values: Any) -> None:  # noqa: ANN401  (JSON values)
        self.finding = Finding(code, values)
        super().__init__(str(self.finding))


class RunStopped(Exception):  # noqa: N818  (a run is stopped with a code)
    """The run cannot start or go on.

    Attributes:
        finding: code E and its sentence.
        exit_code: of the command, see `medsemi.prediction.run`.
    """

    def __init__(self, code: str, exit_code: int = 1, **values: Any) -> None:  # noqa: ANN401
        self.finding, self.exit_code = Finding(code, values), exit_code
        super().__init__(str(self.finding))


def no_images(inputs: Sequence[Path]) -> RunStopped:
    """The exception E12 for inputs that hold no image.

    Args:
        inputs: folders and files, as the user named them.
    """
    names = ", ".join(path.name or str(path) for path in inputs)
    why = (
        f"no DICOM, NIfTI, NRRD or MetaImage file is in {names}; name a folder with images"
        " (results of earlier runs do not count)"
    )
    return RunStopped("E12", why=why)
