"""DICOM segmentations of real series: where they lie, what they refer to, what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from medsemi.prediction.case import Case, Segmentation
from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.model import Model
from medsemi.prediction.outputs.dicom_seg import write_seg
from medsemi.prediction.outputs.seg_readback import check_seg
from medsemi.prediction.outputs.source_headers import SegImpossible, read_source_headers
from medsemi.prediction.reading.silence import silence

SINGLE_FRAME = (
    "ct_axial_noext",
    "ct_axial_ffs",  # an empty character set
    "ct_prone_made",  # three orders that differ
    "mr_prone_sagittal_siemens",
    "mr_feet_first_ge",
    "ct_tilt_philips",
    "ct_gap_one_missing",
    "ct_uneven_made",
)
ENHANCED = ("mr_enhanced_philips", "mr_enhanced_siemens", "mr_enhanced_hyperfine")
MARK = "f" * 64

Write = Callable[..., tuple[Path, Case, np.ndarray]]


@pytest.fixture
def write(
    tmp_path: Path,
    make_case: Callable[..., Case],
    make_segmentation: Callable[..., Segmentation],
    make_model: Callable[..., Model],
) -> Write:
    """Writes the segmentation of spheres on a set, checks it, and gives file, case and labels."""

    def run(
        name: str | Path,
        take: slice = slice(None),
        kind: str = "BINARY",
        empty: bool = False,
        count: int = 2,
        mark: str = MARK,
        file: str = "seg.dcm",
    ) -> tuple[Path, Case, np.ndarray]:
        case = make_case(name, take)
        labels = make_segmentation(case, empty=empty).slice_labels
        path = tmp_path / file
        with silence:
            headers = read_source_headers(case)
            frames = write_seg(path, case, labels, headers, make_model(count), mark, kind)
            check_seg(path, case, labels)
            assert frames == pydicom.dcmread(path).NumberOfFrames
        return path, case, labels

    return run


def with_frame_of_reference(image: pydicom.Dataset) -> None:
    image.FrameOfReferenceUID = "1.2.3.4"


def voxels_of_plane(plane: np.ndarray, position: Any, orientation: Any, spacing: Any) -> np.ndarray:
    """(x, y, z, value) of each voxel of a (row, column) plane that is not 0."""
    i, j = np.nonzero(plane)
    r, c = np.reshape(np.array(orientation, float), (2, 3))
    between_rows, between_columns = (float(v) for v in spacing)
    points = np.array(position, float) + np.outer(j * between_columns, r)
    points += np.outer(i * between_rows, c)
    return np.column_stack([points, plane[i, j]])


def in_order(planes: list[np.ndarray]) -> np.ndarray:
    voxels = np.concatenate(planes).round(4)
    return voxels[np.lexsort(voxels.T)]


def labels_in_space(path: Path) -> np.ndarray:
    """Each labeled voxel of a segmentation, from what its own attributes say."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    planes = []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns).astype(int)
    number = 1
    for item, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        if seg.SegmentationType == "BINARY":
            place = item if "SegmentIdentificationSequence" in item else shared
            number = place.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        planes.append(
            voxels_of_plane(
                frame * number,
                item.PlanePositionSequence[0].ImagePositionPatient,
                shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                shared.PixelMeasuresSequence[0].PixelSpacing,
            )
        )
    return in_order(planes)


def expected_in_space(case: Case, labels: np.ndarray) -> np.ndarray:
    """The same from the labels and the headers of the source, one slice after the other."""
    planes = []
    for k, each in enumerate(case.source.slices):
        image = pydicom.dcmread(each.path, stop_before_pixels=True)
        geometry = image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
        planes.append(voxels_of_plane(labels[:, :, k].T.astype(int), *geometry))
    return in_order(planes)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("name", SINGLE_FRAME)
def test_every_labeled_voxel_lies_where_it_was_found(write: Write, name: str, kind: str) -> None:
    path, case, labels = write(name, kind=kind)
    found = labels_in_space(path)
    np.testing.assert_array_equal(found, expected_in_space(case, labels))
    assert len(found) == np.count_nonzero(labels) > 100


@pytest.mark.parametrize("name", ["ct_axial_noext", "mr_prone_sagittal_siemens"])
def test_highdicom_reads_the_same_volume(write: Write, name: str) -> None:
    path, case, labels = write(name)
    read = highdicom.seg.segread(path).get_volume(combine_segments=True)
    back = np.linalg.inv(case.grid.affine) @ read.affine  # its (slice, row, column) to ours
    index = np.stack([*np.nonzero(read.array), np.ones(np.count_nonzero(read.array))])
    where = np.rint(back @ index).astype(int)[:3]
    np.testing.assert_allclose(back @ index, np.rint(back @ index), atol=1e-2)
    np.testing.assert_array_equal(labels[tuple(where)], read.array[read.array > 0])
    assert where.shape[1] == np.count_nonzero(labels)


@pytest.mark.parametrize("take", [slice(None), slice(1, 6)])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("name", ENHANCED)
def test_frames_of_multi_frame_files_are_named_by_their_true_number(
    write: Write, edited: Callable[..., Path], name: str, kind: str, take: slice
) -> None:
    path, case, labels = write(edited(name, with_frame_of_reference), take, kind)
    seg = pydicom.dcmread(path)
    image = pydicom.dcmread(case.source.path, stop_before_pixels=True)
    used = set()
    for item in seg.PerFrameFunctionalGroupsSequence:
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
        number = int(reference.ReferencedFrameNumber)
        source = image.PerFrameFunctionalGroupsSequence[number - 1]
        if "PlanePositionSequence" in source:
            assert (
                item.PlanePositionSequence[0].ImagePositionPatient
                == source.PlanePositionSequence[0].ImagePositionPatient
            )
        used.add(number)
    held = {each.frame + 1 for k, each in enumerate(case.source.slices) if labels[:, :, k].any()}
    assert used == held


def test_one_volume_of_a_multi_frame_file_refers_to_its_own_frames(
    write: Write, edited: Callable[..., Path]
) -> None:
    folder = edited("mr_enhanced_4d_philips", with_frame_of_reference)
    path, case, _ = write(folder, slice(2, None, 4))
    frames = {each.frame + 1 for each in case.source.slices}
    assert len(frames) == 8
    used = {
        int(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        for item in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    }
    assert used
    assert used <= frames


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ct_empty_uids_made", "study"),
        ("ct_tilt_siemens", "frame of reference"),
        ("mr_nonsquare_pixels", "frame of reference"),
        ("mr_enhanced_philips", "frame of reference"),
    ],
)
def test_what_must_not_be_invented_makes_it_impossible(write: Write, name: str, why: str) -> None:
    with pytest.raises(SegImpossible, match=why):
        write(name)


def test_every_image_needs_an_identifier(write: Write, edited: Callable[..., Path]) -> None:
    def empty_last(image: pydicom.Dataset) -> None:
        image.SOPInstanceUID = "" if image.InstanceNumber == 3 else image.SOPInstanceUID

    with pytest.raises(SegImpossible, match="of their own"):
        write(edited("ct_tiny_volume", empty_last))


def test_odd_character_sets_and_pixels_are_no_obstacle(
    write: Write, edited: Callable[..., Path]
) -> None:
    path, case, _ = write(edited("mr_nonsquare_pixels", with_frame_of_reference))
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(v) for v in measures.PixelSpacing] == pytest.approx([4.0, 6.4], abs=1e-4)
    assert case.grid.spacing[:2] == pytest.approx((6.4, 4.0), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "distance"),
    [("ct_tilt_philips", 2.3708), ("ct_gap_one_missing", 5.0), ("ct_uneven_made", None)],
)
def test_the_slice_distance_is_the_true_one(
    write: Write, name: str, distance: float | None
) -> None:
    path, _, _ = write(name)
    measures = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    stated = measures.get("SpacingBetweenSlices")
    if distance is None:
        assert stated is None
    else:
        assert float(stated) == pytest.approx(distance, abs=1e-3)


def test_a_tilted_segmentation_has_exactly_the_planes_of_the_source(write: Write) -> None:
    path, case, _ = write("ct_tilt_philips")
    source = {
        tuple(pydicom.dcmread(each.path, stop_before_pixels=True).ImagePositionPatient)
        for each in case.source.slices
    }
    frames = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    assert {tuple(f.PlanePositionSequence[0].ImagePositionPatient) for f in frames} == source


@pytest.mark.parametrize(
    ("kind", "frames"),
    [("BINARY", 2), ("LABELMAP", 1)],
)
@pytest.mark.parametrize("name", ["ct_axial_noext", "ct_axial_ffs", "ct_legacy_enhanced"])
def test_an_empty_result_is_one_empty_plane(
    write: Write, name: str, kind: str, frames: int
) -> None:
    path, case, _ = write(name, kind=kind, empty=True)
    seg = pydicom.dcmread(path)
    assert seg.NumberOfFrames == frames
    assert not seg.pixel_array.any()
    referred = {item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence}
    assert referred == {each.uid for each in case.source.slices}


def test_all_labels_are_described_though_only_some_are_found(write: Write) -> None:
    path, _, labels = write("ct_prone_made", count=300)
    seg = pydicom.dcmread(path)
    assert [item.SegmentNumber for item in seg.SegmentSequence] == list(range(1, 301))
    assert labels.max() == 2
    item = seg.SegmentSequence[1]
    assert (item.SegmentLabel, item.SegmentAlgorithmType) == ("part 2", "AUTOMATIC")
    assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert item.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Tissue"
    model = item.SegmentationAlgorithmIdentificationSequence[0]
    assert (model.AlgorithmName, model.AlgorithmVersion) == ("la-bcp", "1.2.0")
    assert model.AlgorithmParameters == "sha256=" + "0123456789abcdef" * 4
    lightness = item.RecommendedDisplayCIELabValue[0] / 65535 * 100
    assert lightness == pytest.approx(42.0, abs=2)  # of (200, 2, 90)


def test_labels_beyond_a_byte_keep_their_numbers(
    write: Write,
    tmp_path: Path,
    make_case: Callable[..., Case],
    make_model: Callable[..., Model],
) -> None:
    case = make_case("ct_prone_made")
    labels = np.zeros((*case.grid.shape[:2], 3), np.uint16)
    labels[3, 5, 1], labels[4, 5, 1], labels[3, 6, 2] = 300, 44, 256
    for kind in ("BINARY", "LABELMAP"):
        with silence:
            headers = read_source_headers(case)
            write_seg(tmp_path / kind, case, labels, headers, make_model(300), MARK, kind)
            check_seg(tmp_path / kind, case, labels)
        assert sorted(labels_in_space(tmp_path / kind)[:, 3]) == [44, 256, 300]


def test_the_header_says_what_this_is_and_for_whom(write: Write) -> None:
    path, case, _ = write("ct_axial_noext")
    seg = pydicom.dcmread(path)
    source = pydicom.dcmread(case.source.path, stop_before_pixels=True)
    assert seg.SeriesDescription == "medsemi (research) la-bcp"
    assert "Research use only" in seg.ContentDescription
    assert seg.SeriesNumber == 900 + int(source.SeriesNumber) % 100
    assert seg.DeviceSerialNumber == "0123456789abcdef" * 4
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert not [element for element in seg.iterall() if element.tag.is_private]


def identifiers(path: Path) -> set[str]:
    seg = pydicom.dcmread(path)
    dimensions = seg.DimensionOrganizationSequence[0].DimensionOrganizationUID
    assert {item.DimensionOrganizationUID for item in seg.DimensionIndexSequence} == {dimensions}
    return {seg.SOPInstanceUID, seg.SeriesInstanceUID, dimensions}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_same_fingerprint_gives_the_same_file(write: Write, kind: str) -> None:
    one, _, _ = write("ct_prone_made", kind=kind)
    again, _, _ = write("ct_prone_made", kind=kind, file="again.dcm")
    assert one.read_bytes() == again.read_bytes()
    other, _, _ = write("ct_prone_made", kind=kind, mark="e" * 64, file="other.dcm")
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in identifiers(one))
    assert len(identifiers(one)) == 3
    assert not identifiers(one) & identifiers(other)


def test_the_two_kinds_and_two_series_share_no_identifier(write: Write) -> None:
    paths = [
        write("ct_prone_made", kind="BINARY", file="a.dcm")[0],
        write("ct_prone_made", kind="LABELMAP", file="b.dcm")[0],
        write("ct_uneven_made", kind="BINARY", file="c.dcm")[0],
    ]
    assert len(set.union(*map(identifiers, paths))) == 9


def strip(image: pydicom.Dataset) -> None:
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "SeriesNumber",
        "SeriesDate",
        "SeriesTime",
        "AcquisitionDate",
        "ContentDate",
        "SliceThickness",
    ):
        image.pop(keyword, None)


def spoil(image: pydicom.Dataset) -> None:
    image.PatientSex = "X"
    image.PatientBirthDate = "1950"
    image.StudyTime = "noon"
    image.SeriesNumber = -5
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, int(image.InstanceNumber) * 1e-7]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, when the faults are made
@pytest.mark.parametrize("fault", [strip, spoil])
def test_faulty_headers_are_no_obstacle(
    write: Write, edited: Callable[..., Path], fault: Callable[[Any], None]
) -> None:
    path, _, labels = write(edited("ct_axial_ffs", fault))
    seg = pydicom.dcmread(path)
    assert seg.PatientSex == ""
    assert seg.SeriesNumber in (900, 995)
    assert seg.ContentDate
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) > 0
    assert len(labels_in_space(path)) == np.count_nonzero(labels)


def test_names_in_any_script_come_through(write: Write, edited: Callable[..., Path]) -> None:
    def rename(image: pydicom.Dataset) -> None:
        image.SpecificCharacterSet = ["ISO 2022 IR 100", "ISO 2022 IR 144"]
        image.PatientName = "Müller^Пушкин"

    path, _, _ = write(edited("ct_prone_made", rename))
    seg = pydicom.dcmread(path)
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) == "Müller^Пушкин"


def test_an_unknown_kind_of_object_makes_it_impossible(
    write: Write, edited: Callable[..., Path]
) -> None:
    def change(image: pydicom.Dataset) -> None:
        image.SOPClassUID = "1.2.3.4.5"

    with pytest.raises(SegImpossible, match="standard"):
        write(edited("ct_prone_made", change))


def test_slices_in_several_multi_frame_files_make_it_impossible(
    write: Write, edited: Callable[..., Path]
) -> None:
    folder = edited("mr_enhanced_siemens", with_frame_of_reference)
    image = pydicom.dcmread(folder / "000.dcm")
    for item in image.PerFrameFunctionalGroupsSequence:
        position = item.PlanePositionSequence[0].ImagePositionPatient
        # Continue the stack, 8 slices further along the normal.
        r, c = np.reshape(
            np.array(item.PlaneOrientationSequence[0].ImageOrientationPatient, float), (2, 3)
        )
        moved = np.array(position, float) + 8 * 0.9 * np.cross(r, c)
        item.PlanePositionSequence[0].ImagePositionPatient = [f"{v:.6f}" for v in moved]
    image.SOPInstanceUID = "1.2.3.4.6"
    image.save_as(folder / "001.dcm")
    with pytest.raises(SegImpossible, match="several multi-frame files"):
        write(folder)


# What is wrong in a file must be seen, whatever it is.


def first_frame(seg: pydicom.Dataset) -> pydicom.Dataset:
    return seg.PerFrameFunctionalGroupsSequence[0]


def invert_a_pixel(seg: pydicom.Dataset) -> None:
    data = bytearray(seg.PixelData)
    data[len(data) // 2] ^= 1
    seg.PixelData = bytes(data)


def cut_off_pixels(seg: pydicom.Dataset) -> None:
    seg.PixelData = seg.PixelData[: len(seg.PixelData) // 4 * 2]


def shift_a_plane(seg: pydicom.Dataset) -> None:
    position = first_frame(seg).PlanePositionSequence[0].ImagePositionPatient
    position[0] = float(position[0]) + float(
        seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing[1]
    )


def lift_a_plane(seg: pydicom.Dataset) -> None:
    position = first_frame(seg).PlanePositionSequence[0].ImagePositionPatient
    position[2] = float(position[2]) + 0.5


def swap_planes(seg: pydicom.Dataset) -> None:
    items = seg.PerFrameFunctionalGroupsSequence
    one, other = items[0].PlanePositionSequence, items[1].PlanePositionSequence
    items[0].PlanePositionSequence, items[1].PlanePositionSequence = other, one


def transpose(seg: pydicom.Dataset) -> None:
    plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    r, c = plane.ImageOrientationPatient[:3], plane.ImageOrientationPatient[3:]
    plane.ImageOrientationPatient = [*c, *r]


def stretch(seg: pydicom.Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.0, 1.0]


def exchange_labels(seg: pydicom.Dataset) -> None:
    for item in seg.PerFrameFunctionalGroupsSequence:
        segment = item.SegmentIdentificationSequence[0]
        segment.ReferencedSegmentNumber = 3 - segment.ReferencedSegmentNumber


def refer_elsewhere(seg: pydicom.Dataset) -> None:
    source = first_frame(seg).DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "1.2.3"


def drop_a_frame(seg: pydicom.Dataset) -> None:
    del seg.PerFrameFunctionalGroupsSequence[-1]
    seg.NumberOfFrames -= 1


def drop_positions(seg: pydicom.Dataset) -> None:
    del first_frame(seg).PlanePositionSequence


FAULTS = (
    invert_a_pixel,
    cut_off_pixels,
    shift_a_plane,
    lift_a_plane,
    swap_planes,
    transpose,
    stretch,
    exchange_labels,
    refer_elsewhere,
    drop_a_frame,
    drop_positions,
)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, about what was cut off
@pytest.mark.parametrize("name", ["ct_prone_made", "ct_tilt_philips", "ct_uneven_made"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_segmentation_is_refused(
    write: Write, name: str, fault: Callable[[pydicom.Dataset], None]
) -> None:
    path, case, labels = write(name)
    seg = pydicom.dcmread(path)
    fault(seg)
    seg.save_as(path)
    with pytest.raises(CaseRefused) as refusal:
        check_seg(path, case, labels)
    assert refusal.value.finding.code == "E03"


def test_labels_that_are_not_in_the_file_are_missed(write: Write) -> None:
    path, case, labels = write("ct_axial_noext")
    more = labels.copy()
    outside = np.argwhere(~labels.any(axis=(0, 1)))
    k = int(outside[0, 0]) if len(outside) else 0
    more[0, 0, k] = 1
    with pytest.raises(CaseRefused, match="E03"):
        check_seg(path, case, more)
