"""What is known of one DICOM object before its pixels are read, as plain values.

The rules of grouping, ordering and splitting work on these records alone, whatever file they come
from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Orientation = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in the patient, LPS, mm.

    Attributes:
        position: center of the first pixel.
        orientation: unit vectors of growing column index and of growing row index.
        spacing: distance between rows, distance between columns.
    """

    position: Vector
    orientation: Orientation
    spacing: tuple[float, float]

    @property
    def along_columns(self) -> NDArray[np.float64]:
        """Direction in which the column index grows, (3,)."""
        return np.array(self.orientation[:3])

    @property
    def along_rows(self) -> NDArray[np.float64]:
        """Direction in which the row index grows, (3,)."""
        return np.array(self.orientation[3:])

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along which slices are ordered, (3,)."""
        normal = np.cross(self.along_columns, self.along_rows)
        return normal / np.linalg.norm(normal)


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane of pixels.

    Attributes:
        path: its file.
        number: 0-based index in the file.
        uid: SOP Instance UID of the file.
        matrix: rows, columns.
        frame_of_reference: UID; empty where absent.
        place: None where position, orientation or pixel size is absent or nonsense.
        rescale: slope and intercept, as written.
        keys: what may tell repeated volumes apart, by the names of `volumes.SPLITS`; `instance` is
            the instance or frame number.
    """

    path: Path
    number: int
    uid: str
    matrix: tuple[int, int]
    frame_of_reference: str = ""
    place: Place | None = None
    rescale: tuple[str, str] = ("", "")
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts frames by what they hold, whatever their files are called."""
        where = self.place
        geometry = (where.orientation, where.position, where.spacing) if where else ()
        instance = self.keys.get("instance")
        rank = (instance is not None, instance or 0, self.uid, self.number)
        return (self.frame_of_reference, self.matrix, geometry, rank)


@dataclass(frozen=True, slots=True)
class Header:
    """One DICOM object.

    Attributes:
        path: its file.
        name: path relative to the INPUT that it was found under.
        folder: the folder of the file, for objects without a series UID.
        sop_class: UID.
        uid: SOP Instance UID.
        study: UID.
        series: UID.
        modality: such as CT.
        image_type: values, upper case.
        photometric: interpretation, upper case.
        conversion: whether a conversion type is stated, as by film scanners and screen capture.
        transfer_syntax: UID; empty where the file does not say.
        bits: allocated for a pixel; 0 where unknown.
        floating: whether pixels are floating-point numbers.
        has_pixels: whether there is pixel data.
        short: whether pixel data is certainly shorter than the header says.
        claimed: number of frames that the header claims.
        grouped: whether frames are described one by one, as in multi-frame files of one frame too.
        burned_in: whether text is burned into the image, as the header says.
        lossy: whether the image was compressed with loss.
        has_table: whether a modality lookup table replaces slope and intercept.
        patient: name, number and date of birth; empty where absent.
        tags: see `medsemi.prediction.case.Source`, and patient_id and study_date; carried is of this file.
        frames: its planes; one without place where only the object as a whole is known.
    """

    path: Path
    name: str
    folder: str
    sop_class: str
    uid: str
    study: str
    series: str
    modality: str
    image_type: tuple[str, ...]
    photometric: str
    conversion: bool
    transfer_syntax: str
    bits: int
    floating: bool
    has_pixels: bool
    short: bool
    claimed: int
    grouped: bool
    burned_in: bool
    lossy: bool
    has_table: bool
    patient: tuple[str, ...]
    tags: Mapping[str, str]
    frames: tuple[Frame, ...]

    @property
    def placed(self) -> bool:
        """Whether every frame says where it lies."""
        return bool(self.frames) and all(frame.place is not None for frame in self.frames)
