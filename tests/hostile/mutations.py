"""Seeded damage of files, and what may be said of a file after it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# What a reader must make of a mutant that it does not refuse.
SAME = "same"  # the image of the good file
PARSED = "parsed"  # what an independent parser finds in the mutant, or the image of the good file
_LONG = {b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OL", b"OV"}
_VRS = [b"US", b"SS", b"DS", b"IS", b"SQ", b"OB", b"UN", b"UT", b"FD", b"??", b"\0\0", b"ZZ"]
SYNTAXES = [
    f"1.2.840.10008.1.2{end}"
    for end in ("", ".1", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80")
] + ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.100", "1.2.3"]
HUGE = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_PIXELS = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes:
        data: its bytes.
        what: kind of damage.
        allows: `SAME` or `PARSED`.
    """

    data: bytes
    what: str
    allows: str


@dataclass(frozen=True)
class Element:
    """Where a DICOM element stands in its file."""

    tag: tuple[int, int]
    start: int
    length_at: int
    length_bytes: int
    value: int
    explicit: bool


def elements(data: bytes) -> list[Element]:
    """All elements of a little-endian file up to its pixels, those in sequences too, flat."""
    return list(_walk(data))


def _walk(data: bytes) -> Iterator[Element]:
    position = 132 if data[128:132] == b"DICM" else 0
    explicit_data: bool | None = None
    while position + 8 <= len(data):
        tag = struct.unpack_from("<HH", data, position)
        vr = data[position + 4 : position + 6]
        if tag[0] != 2 and explicit_data is None:
            explicit_data = vr.isalpha() and vr.isupper()
        explicit = (tag[0] == 2 or bool(explicit_data)) and tag[0] != 0xFFFE
        long = explicit and vr in _LONG
        if long and position + 12 > len(data):
            return
        at = position + (8 if long else 6 if explicit else 4)
        size = 2 if explicit and not long else 4
        length = int.from_bytes(data[at : at + size], "little")
        yield Element(tag, position, at, size, at + size, explicit)
        if tag in _PIXELS:
            return
        inside = tag[0] == 0xFFFE or vr == b"SQ" or length == 0xFFFFFFFF
        position = at + size + (0 if inside else length)


def _truncate(data: bytes, rng: np.random.Generator) -> Mutant:
    near = rng.random() < 0.3  # cuts just before the end are the ones that readers overlook
    cut = int(rng.integers(max(len(data) - 300, 0), len(data)) if near else rng.integers(len(data)))
    return Mutant(data[:cut], f"truncated at {cut} of {len(data)}", SAME)


def _flip_bit(data: bytes, rng: np.random.Generator) -> Mutant:
    return _flip(data, int(rng.integers(len(data))), 1 << int(rng.integers(8)))


def _flip_byte(data: bytes, rng: np.random.Generator) -> Mutant:
    return _flip(data, int(rng.integers(len(data))), int(rng.integers(1, 256)))


def _flip(data: bytes, at: int, mask: int) -> Mutant:
    changed = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    return Mutant(changed, f"byte {at} xor {mask}", PARSED)


def _overwrite(data: bytes, rng: np.random.Generator) -> Mutant:
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 64))
    fill = [bytes(size), b"\xff" * size, rng.bytes(size)][int(rng.integers(3))]
    size = len(fill[: len(data) - at])
    changed = data[:at] + fill[:size] + data[at + size :]
    return Mutant(changed, f"{size} bytes at {at} overwritten", PARSED)


def _splice(data: bytes, rng: np.random.Generator) -> Mutant:
    at, size = int(rng.integers(len(data))), int(rng.integers(1, 64))
    if rng.random() < 0.5:
        return Mutant(data[:at] + data[at + size :], f"{size} bytes at {at} cut out", PARSED)
    return Mutant(data[:at] + rng.bytes(size) + data[at:], f"{size} bytes at {at} added", PARSED)


def _pick(data: bytes, rng: np.random.Generator) -> Element | None:
    found = elements(data)
    return found[int(rng.integers(len(found)))] if found else None


def _element_value(data: bytes, rng: np.random.Generator) -> Mutant:
    """A flip in one of the elements, each as likely as another, rather than in the pixels."""
    element = _pick(data, rng)
    if element is None:
        return _flip_byte(data, rng)
    at = element.start + int(rng.integers(8)) if rng.random() < 0.3 else element.value
    at = min(at + int(rng.integers(6)), len(data) - 1)
    return _flip(data, at, int(rng.integers(1, 256)))


def _swap_lengths(data: bytes, rng: np.random.Generator) -> Mutant:
    """Two length fields change places, or one takes an extreme value."""
    one, other = _pick(data, rng), _pick(data, rng)
    if one is None or other is None:
        return _splice(data, rng)
    changed = bytearray(data)
    first, second = data[one.length_at :][: one.length_bytes], data[other.length_at :]
    second = second[: other.length_bytes]
    if rng.random() < 0.5:
        value = int(rng.choice(HUGE)) & (256**one.length_bytes - 1)
        second = value.to_bytes(one.length_bytes, "little")
    else:
        changed[other.length_at : other.length_at + other.length_bytes] = first[
            : other.length_bytes
        ].ljust(other.length_bytes, b"\0")
    changed[one.length_at : one.length_at + one.length_bytes] = second[: one.length_bytes].ljust(
        one.length_bytes, b"\0"
    )
    return Mutant(bytes(changed), f"length of {one.tag} changed", PARSED)


def _garbage_vr(data: bytes, rng: np.random.Generator) -> Mutant:
    explicit = [element for element in elements(data) if element.explicit]
    if not explicit:
        return _element_value(data, rng)
    element = explicit[int(rng.integers(len(explicit)))]
    vr = _VRS[int(rng.integers(len(_VRS)))]
    changed = data[: element.start + 4] + vr + data[element.start + 6 :]
    return Mutant(changed, f"VR of {element.tag} is {vr!r}", PARSED)


_CLAIMS = {(0x28, 0x10): "<H", (0x28, 0x11): "<H", (0x28, 0x100): "<H", (0x28, 0x8): "text"}


def _huge_claim(data: bytes, rng: np.random.Generator) -> Mutant:
    """Rows, columns, bits or frames far beyond the bytes of the file."""
    found = [element for element in elements(data) if element.tag in _CLAIMS]
    if not found:
        return _swap_lengths(data, rng)
    element = found[int(rng.integers(len(found)))]
    if _CLAIMS[element.tag] == "text":
        size = int.from_bytes(data[element.length_at :][: element.length_bytes], "little")
        value = b"9" * size
    else:
        value = struct.pack("<H", int(rng.choice([0, 1, 30000, 65535])))
    changed = data[: element.value] + value + data[element.value + len(value) :]
    same = changed == data
    return Mutant(changed, f"{element.tag} claims {value!r}", PARSED if same else SAME)


def _nest(data: bytes, rng: np.random.Generator) -> Mutant:
    """Sequences 10 to 1000 deep before one of the elements of the dataset."""
    found = [element for element in elements(data) if element.tag[0] not in {2, 0xFFFE}]
    if not found:
        return _splice(data, rng)
    depth, element = int(rng.integers(10, 1001)), found[int(rng.integers(min(len(found), 20)))]
    tag = struct.pack("<HH", 0x0008, 0x1115)
    sequence = tag + b"SQ\0\0" if element.explicit else tag
    item, ends = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    undefined = b"\xff\xff\xff\xff"
    if rng.random() < 0.5:
        nested = (sequence + undefined + item + undefined) * depth + ends * depth
    else:
        nested = b""
        for _ in range(depth):
            inner = item + struct.pack("<L", len(nested)) + nested
            nested = sequence + struct.pack("<L", len(inner)) + inner
    changed = data[: element.start] + nested + data[element.start :]
    # Before an element within a sequence it may end that sequence, so any parse will do.
    return Mutant(changed, f"{depth} sequences deep before {element.tag}", PARSED)


def _wrong_syntax(data: bytes, rng: np.random.Generator) -> Mutant:
    found = [element for element in elements(data) if element.tag == (2, 0x10)]
    if not found:
        return _element_value(data, rng)
    (element,) = found[:1]
    size = int.from_bytes(data[element.length_at :][: element.length_bytes], "little")
    syntax = SYNTAXES[int(rng.integers(len(SYNTAXES)))].encode()
    syntax += b"\0" * (len(syntax) % 2)
    changed = (
        data[: element.length_at]
        + len(syntax).to_bytes(element.length_bytes, "little")
        + syntax
        + data[element.value + size :]
    )
    return Mutant(changed, f"transfer syntax {syntax!r}", SAME)


def _swap_pairs(data: bytes, rng: np.random.Generator) -> Mutant:
    """The other byte order, from some place on."""
    start = int(rng.choice([0, 132, int(rng.integers(len(data)))]))
    body = np.frombuffer(data[start : start + (len(data) - start) // 2 * 2], np.uint16)
    tail = data[start + body.nbytes :]
    return Mutant(data[:start] + body.byteswap().tobytes() + tail, f"swapped from {start}", PARSED)


DICOM: tuple[Callable[[bytes, np.random.Generator], Mutant], ...] = (
    _truncate,
    _truncate,
    _flip_bit,
    _flip_byte,
    _element_value,
    _element_value,
    _overwrite,
    _splice,
    _swap_lengths,
    _garbage_vr,
    _huge_claim,
    _nest,
    _wrong_syntax,
    _swap_pairs,
)


def _nifti_field(data: bytes, rng: np.random.Generator) -> Mutant:
    """One of the fields that matter of a NIfTI-1 or NIfTI-2 header takes an extreme value."""
    if data[:4] == struct.pack("<i", 348):
        fields = [(40 + 2 * i, "<h") for i in range(8)] + [(70, "<h"), (72, "<h"), (108, "<f")]
        fields += [(76 + 4 * i, "<f") for i in range(8)] + [(112, "<f"), (116, "<f")]
        fields += [(252, "<h"), (254, "<h"), (123, "<B")]
        fields += [(256 + 4 * i, "<f") for i in range(18)]
    else:
        fields = [(16 + 8 * i, "<q") for i in range(8)] + [(12, "<h"), (14, "<h"), (168, "<q")]
        fields += [(176 + 8 * i, "<d") for i in range(2)] + [(344, "<i"), (348, "<i"), (500, "<i")]
        fields += [(400 + 8 * i, "<d") for i in range(12)]
    at, kind = fields[int(rng.integers(len(fields)))]
    if kind in {"<f", "<d"}:
        value = float(rng.choice([0, -1, 1e-30, 1e30, np.nan, np.inf, -np.inf, 1e4, 0.5]))
        packed = struct.pack(kind, value)
    else:
        size = struct.calcsize(kind)
        whole = int(rng.choice([0, 1, 2, 4, 16, 64, 128, 511, -1, 2**15 - 1, 2**31 - 1, 2**62]))
        packed = (whole & (256**size - 1)).to_bytes(size, "little")
    return Mutant(
        data[:at] + packed + data[at + len(packed) :], f"field {at} is {packed!r}", PARSED
    )


def _nifti_mark(data: bytes, rng: np.random.Generator) -> Mutant:
    """Another byte order claimed than used."""
    size = 8 if rng.random() < 0.5 else 4
    return Mutant(data[:4][::-1] + data[4:], f"mark of byte order, {size}", SAME)


NIFTI = (_truncate, _flip_bit, _flip_byte, _nifti_field, _nifti_field, _nifti_mark, _overwrite)
COMPRESSED = (_truncate, _flip_bit, _flip_byte, _overwrite, _splice)
ITK = (_truncate, _flip_bit, _flip_byte, _overwrite, _splice)


def mutate(kind: str, data: bytes, rng: np.random.Generator) -> Mutant:
    """Damage a file.

    Args:
        kind: `stack`, `alone`, `nifti` or `itk`.
        data: of the file.
        rng: draws everything.
    """
    if kind == "nifti" and data[:2] == b"\x1f\x8b":
        if rng.random() < 0.4:  # the stream itself, whose checksum tells
            damaged = COMPRESSED[int(rng.integers(len(COMPRESSED)))](data, rng)
            return Mutant(damaged.data, f"gzip: {damaged.what}", SAME)
        inner = mutate(kind, gzip.decompress(data), rng)
        return Mutant(gzip.compress(inner.data, 1), inner.what, inner.allows)
    choices = {"nifti": NIFTI, "itk": ITK}.get(kind, DICOM)
    return choices[int(rng.integers(len(choices)))](data, rng)
