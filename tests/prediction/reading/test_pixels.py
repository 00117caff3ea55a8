"""Stored values of DICOM images: every transfer syntax, and what is refused with which code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGExtended12Bit, RLELossless

from medsemi.prediction.codes import CaseRefused
from medsemi.prediction.reading.codestream import Codestream, read_codestream
from medsemi.prediction.reading.pixels import DECODERS, decoder_plugin, open_frames, pixel_digest

SYNTAXES = (
    "deflated_le",
    "explicit_be",
    "explicit_le",
    "htj2k_lossless",
    "implicit_le",
    "jpeg2000_lossless",
    "jpeg_lossless_p14",
    "jpeg_lossless_sv1",
    "jpegls_lossless",
    "rle",
)
COMPRESSED = [name for name in SYNTAXES if name.startswith(("h", "j"))]
Change = Callable[[Dataset], None]


@pytest.fixture(scope="session")
def encodings(shared: Path) -> Path:
    return shared / "data/dicom/transfer_syntaxes"


@pytest.fixture
def changed(encodings: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of one of the encodings with another header."""

    def write(change: Change, name: str = "explicit_le") -> Path:
        dataset = pydicom.dcmread(encodings / f"{name}.dcm")
        change(dataset)
        path = tmp_path / "changed.dcm"
        dataset.save_as(path)
        return path

    return write


def first_frame(path: Path) -> np.ndarray:
    with open_frames(path) as frames:
        return frames.stored(0)


def refusal(path: Path) -> str:
    with pytest.raises(CaseRefused) as refused:
        first_frame(path)
    return refused.value.finding.code


@pytest.mark.parametrize("name", SYNTAXES)
def test_every_encoding_gives_equal_values(encodings: Path, name: str) -> None:
    stored = first_frame(encodings / f"{name}.dcm")
    expected = np.load(encodings / "expected_pixels.npy")
    assert stored.dtype == expected.dtype == np.int16
    np.testing.assert_array_equal(stored, expected)


def test_equal_images_have_one_digest_in_every_encoding(encodings: Path) -> None:
    assert len({pixel_digest(encodings / f"{name}.dcm") for name in SYNTAXES}) == 1


@pytest.mark.parametrize("name", SYNTAXES)
def test_without_optional_decoders_the_package_is_named(
    encodings: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for syntax in DECODERS:
        kept = {k: v for k, v in get_decoder(syntax)._available.items() if k == "pydicom"}
        monkeypatch.setattr(get_decoder(syntax), "_available", kept)
    path = encodings / f"{name}.dcm"
    if name not in COMPRESSED:
        np.testing.assert_array_equal(
            first_frame(path), np.load(path.with_name("expected_pixels.npy"))
        )
        return
    for read in (first_frame, pixel_digest):
        with pytest.raises(CaseRefused) as refused:
            read(path)
        assert refused.value.finding.code == "R09"
        assert refused.value.finding.values["package"] in refused.value.finding.text


def test_the_decoder_that_is_not_free_is_named_with_its_licence() -> None:
    with pytest.raises(CaseRefused, match=r"R09.*12|Extended.*GPL"):
        decoder_plugin(JPEGExtended12Bit)


def test_an_unknown_transfer_syntax_is_not_repeated() -> None:
    with pytest.raises(CaseRefused) as refused:
        decoder_plugin("1.2.3.4.PATIENT")
    assert refused.value.finding.code == "R08"
    assert "PATIENT" not in str(refused.value)


@pytest.mark.parametrize("name", SYNTAXES)
def test_truncated_anywhere_is_never_read(encodings: Path, tmp_path: Path, name: str) -> None:
    whole = (encodings / f"{name}.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    # Behind the pixels of these files follow a few hundred bytes of padding at most.
    cuts = [*range(0, len(whole), 97), *(len(whole) - n for n in (10, 3, 2, 1))]
    expected = np.load(encodings / "expected_pixels.npy")
    read = []
    for cut in cuts:
        path.write_bytes(whole[:cut])
        try:
            np.testing.assert_array_equal(first_frame(path), expected)
            read.append(cut)
        except CaseRefused as refused:
            assert refused.finding.code in {"U01", "R07"}, cut  # noqa: PT017
    assert all(cut > len(whole) - 150 for cut in read)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: setattr(d, "Rows", 65), "R07"),
        (lambda d: setattr(d, "Rows", 65535), "R07"),
        (lambda d: setattr(d, "Rows", 60), "R08"),
        (lambda d: setattr(d, "Rows", 0), "R08"),
        (lambda d: setattr(d, "Columns", 32), "R08"),
        (lambda d: setattr(d, "NumberOfFrames", 2**31 - 1), "R07"),
        (lambda d: setattr(d, "NumberOfFrames", -1), "R08"),
        (lambda d: setattr(d, "BitsAllocated", 32), "R07"),
        (lambda d: setattr(d, "BitsAllocated", 12), "R08"),
        (lambda d: setattr(d, "BitsStored", 17), "R08"),
        (lambda d: setattr(d, "HighBit", 11), "R08"),
        (lambda d: setattr(d, "PixelRepresentation", 2), "R08"),
        (lambda d: setattr(d, "SamplesPerPixel", 3), "R08"),
        (lambda d: setattr(d, "PhotometricInterpretation", "RGB"), "R08"),
        (lambda d: setattr(d, "PhotometricInterpretation", "PALETTE COLOR"), "R08"),
        (lambda d: setattr(d, "ModalityLUTSequence", [Dataset()]), "R08"),
        (lambda d: d.__delitem__("Columns"), "R08"),
        (lambda d: d.__delitem__("PixelData"), "R07"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:-2]), "R07"),
    ],
)
def test_a_header_that_contradicts_its_pixels_is_refused(
    changed: Callable[..., Path], change: Change, code: str
) -> None:
    assert refusal(changed(change)) == code


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
@pytest.mark.parametrize("size", [32, 128, 60000])
def test_a_compressed_image_of_another_size_is_refused(
    changed: Callable[..., Path], name: str, keyword: str, size: int
) -> None:
    assert refusal(changed(lambda d: setattr(d, keyword, size), name)) == "R08"


@pytest.mark.parametrize(("keyword", "size"), [("Rows", 1), ("Rows", 63), ("Columns", 65)])
def test_rle_of_another_length_is_refused(
    changed: Callable[..., Path], keyword: str, size: int
) -> None:
    assert refusal(changed(lambda d: setattr(d, keyword, size), "rle")) == "R07"


@pytest.mark.parametrize("bits", [8, 32])
def test_rle_of_another_type_is_refused(changed: Callable[..., Path], bits: int) -> None:
    def retype(dataset: Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1

    assert refusal(changed(retype, "rle")) == "R07"


def test_a_transposed_matrix_is_refused_though_its_product_is_right(
    changed: Callable[..., Path],
) -> None:
    def transpose(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = 32, 128

    assert refusal(changed(transpose, "jpegls_lossless")) == "R08"


def test_compressed_data_under_an_uncompressed_syntax_is_refused(
    encodings: Path, tmp_path: Path
) -> None:
    path = tmp_path / "swapped.dcm"
    raw = (encodings / "rle.dcm").read_bytes()
    path.write_bytes(raw.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"))
    assert refusal(path) == "R08"


def test_padding_of_zeros_is_no_row_but_data_is(changed: Callable[..., Path]) -> None:
    with_zeros = changed(lambda d: setattr(d, "PixelData", d.PixelData + bytes(128)))
    assert first_frame(with_zeros).shape == (64, 64)
    with_row = changed(lambda d: setattr(d, "PixelData", d.PixelData + b"\1" * 128))
    assert refusal(with_row) == "R08"


def rle_frames(encodings: Path) -> list[bytes]:
    """Two different encoded frames of one size."""
    dataset = pydicom.dcmread(encodings / "explicit_le.dcm")
    frames = []
    for factor in (1, 2):
        dataset.PixelData = (dataset.pixel_array * factor).tobytes()
        copy = pydicom.dcmread(encodings / "explicit_le.dcm")
        copy.PixelData = dataset.PixelData
        copy.compress(RLELossless, generate_instance_uid=False)
        frames.append(next(pydicom.encaps.generate_frames(copy.PixelData, number_of_frames=1)))
    return frames


@pytest.mark.parametrize("table", [True, False])
def test_frames_of_compressed_files_are_found(
    changed: Callable[..., Path], encodings: Path, table: bool
) -> None:
    def two(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 2
        dataset.PixelData = encapsulate(rle_frames(encodings), has_bot=table)

    with open_frames(changed(two, "rle")) as frames:
        first, second = frames.stored(0), frames.stored(1)
        with pytest.raises(CaseRefused, match="R07"):
            frames.stored(2)
    np.testing.assert_array_equal(first, np.load(encodings / "expected_pixels.npy"))
    np.testing.assert_array_equal(second, first * 2)


def test_a_frame_of_several_fragments_is_joined(
    changed: Callable[..., Path], encodings: Path
) -> None:
    def split(dataset: Dataset) -> None:
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame], fragments_per_frame=4)

    stored = first_frame(changed(split, "jpeg2000_lossless"))
    np.testing.assert_array_equal(stored, np.load(encodings / "expected_pixels.npy"))


@pytest.mark.parametrize(("frames", "code"), [(1, "R08"), (3, "R07"), (40000, "R07")])
def test_another_number_of_frames_than_stored_is_refused(
    changed: Callable[..., Path], encodings: Path, frames: int, code: str
) -> None:
    def claim(dataset: Dataset) -> None:
        dataset.NumberOfFrames = frames
        dataset.PixelData = encapsulate(rle_frames(encodings), has_bot=False)

    assert refusal(changed(claim, "rle")) == code


def test_a_bomb_of_deflated_zeros_is_not_inflated(encodings: Path, tmp_path: Path) -> None:
    import zlib

    raw = (encodings / "deflated_le.dcm").read_bytes()
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(80)) + deflater.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(raw[: raw.index(b"1.2.840.10008.1.2.1.99") + 22] + bomb)
    assert refusal(path) in {"R07", "U01"}


def test_signed_values_of_twelve_bits_keep_their_sign(
    changed: Callable[..., Path],
) -> None:
    values = np.linspace(-2048, 2047, 64 * 64).astype(np.int16).reshape(64, 64)

    def twelve(dataset: Dataset) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        # What scanners leave in the unused bits: zeros, so that -1 is stored as 0x0FFF.
        dataset.PixelData = (values & 0x0FFF).astype("<u2").tobytes()

    np.testing.assert_array_equal(first_frame(changed(twelve)), values)


def test_floating_point_pixels_are_read(changed: Callable[..., Path]) -> None:
    values = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)

    def floating(dataset: Dataset) -> None:
        del dataset.PixelData
        dataset.FloatPixelData = values.tobytes()
        dataset.BitsAllocated = 32

    np.testing.assert_array_equal(first_frame(changed(floating)), values)


def test_digests_differ_where_images_do(changed: Callable[..., Path], encodings: Path) -> None:
    reference = pixel_digest(encodings / "explicit_le.dcm")

    def flip(dataset: Dataset) -> None:
        dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]

    def unsign(dataset: Dataset) -> None:
        dataset.PixelRepresentation = 0

    def transpose(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = 128, 32

    digests = [reference, *(pixel_digest(changed(change)) for change in (flip, unsign, transpose))]
    assert len(set(digests)) == 4


def test_the_digest_of_what_is_no_gray_image_is_that_of_its_bytes(
    shared: Path, tmp_path: Path
) -> None:
    screenshot = next((shared / "data/dicom/sc_screenshot").iterdir())
    copy = tmp_path / "copy"
    copy.write_bytes(screenshot.read_bytes())
    assert pixel_digest(copy) == pixel_digest(screenshot)
    copy.write_bytes(screenshot.read_bytes() + b"\0")
    assert pixel_digest(copy) != pixel_digest(screenshot)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"]))
def test_a_damaged_codestream_is_a_value_error_and_nothing_else(tail: bytes, head: bytes) -> None:
    try:
        found = read_codestream(head + tail)
    except ValueError:
        return
    assert isinstance(found, Codestream)


def test_the_size_of_a_jpeg_stands_behind_other_segments() -> None:
    segment = b"\xff\xe0\x00\x04ab" + b"\xff\xff"  # fill byte before the next mark
    frame = b"\xc3\x00\x0b\x0c\x01\x02\x00\x40\x01\x00\x11\x00"
    assert read_codestream(b"\xff\xd8" + segment + frame) == Codestream(258, 64, 1, 12)


def test_many_tiles_are_refused(encodings: Path) -> None:
    dataset = pydicom.dcmread(encodings / "jpeg2000_lossless.dcm")
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert read_codestream(frame) == Codestream(64, 64, 1, 16)
    # 128 × 64 pixels in tiles of one pixel.
    tiny = (128).to_bytes(4, "big") + frame[12:24] + (1).to_bytes(4, "big") * 2
    with pytest.raises(ValueError, match="8192 tiles"):
        read_codestream(frame[:8] + tiny + frame[32:])


def test_a_file_that_is_encoded_otherwise_than_it_says_is_not_shifted(
    encodings: Path, tmp_path: Path
) -> None:
    raw = (encodings / "explicit_le.dcm").read_bytes()
    path = tmp_path / "says_implicit.dcm"
    path.write_bytes(raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"))
    assert path.read_bytes() != raw
    np.testing.assert_array_equal(first_frame(path), np.load(encodings / "expected_pixels.npy"))


def test_an_element_of_an_impossible_type_is_no_error_of_the_program(
    encodings: Path, tmp_path: Path
) -> None:
    raw = (encodings / "explicit_le.dcm").read_bytes()
    path = tmp_path / "damaged.dcm"
    path.write_bytes(raw.replace(b"\x28\0\x04\0CS", b"\x28\0\x04\0FD"))
    assert refusal(path) == "U01"
    assert len(pixel_digest(path)) == 64


def test_a_decoder_that_panics_ends_no_run(changed: Callable[..., Path]) -> None:
    def one_run_too_long(dataset: Dataset) -> None:
        frame = bytearray(
            next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        )
        frame[64:] = b"\x81\x00" * ((len(frame) - 64) // 2)  # each repeats a byte 128 times
        dataset.PixelData = encapsulate([bytes(frame)])

    assert refusal(changed(one_run_too_long, "rle")) == "R07"
