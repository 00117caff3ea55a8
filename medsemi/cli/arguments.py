"""What several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path


def place(text: str) -> Path:
    """A folder or file; an empty text is a variable of the shell that has no value.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "the name is empty; give a folder or file, '.' for this one"
        )
    return Path(text)
