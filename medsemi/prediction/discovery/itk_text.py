"""The text of NRRD and MetaImage headers, as fields by name."""

from __future__ import annotations

import re

LONGEST_HEADER = 1 << 16


def nrrd_fields(start: bytes) -> tuple[dict[str, str], int | None]:
    """The fields of an NRRD file, names in small letters; comments and key/value pairs are left out.

    Args:
        start: the first `LONGEST_HEADER` bytes of the file.

    Returns:
        The fields, and where the blank line after them ends; None where there is none.
    """
    end = re.search(rb"\r?\n\r?\n", start)
    text = start[: end.start()] if end else start
    fields = {
        key.strip().lower(): value.strip()
        for line in text.decode("latin-1").splitlines()
        if not line.startswith("#")
        for key, colon, value in [line.partition(":")]
        if colon and not value.startswith("=")
    }
    return fields, end.end() if end else None


def meta_image_fields(start: bytes) -> tuple[dict[str, str], int]:
    """The fields of an MHA or MHD file; the last is `ElementDataFile`.

    Args:
        start: the first `LONGEST_HEADER` bytes of the file.

    Returns:
        The fields, and where the line of the last one ends.

    Raises:
        ValueError: if that field does not come.
    """
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = start.index(b"\n", position)
        key, _, value = start[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
    return fields, position
