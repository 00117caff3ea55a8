"""Files that torch wrote, read as data: whatever else they hold is told in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medsemi.errors import CheckpointError


def read_saved(path: str | Path) -> Mapping[Any, Any]:
    """Read a file that holds values by name, to the CPU; no code in it is run.

    Args:
        path: of weights, or of a whole checkpoint.

    Raises:
        CheckpointError: if the file is missing, cannot be read, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; give the path of a checkpoint, or train first."
        ) from None
    except Exception as error:  # a damaged or foreign file raises whatever its bytes suggest
        raise CheckpointError(
            f"{path} cannot be read as a file of weights only ({type(error).__name__}): it is damaged"
            " or holds something else; make or download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__} instead of a state dict; give another file."
        )
    return content


def not_weights(content: Mapping[Any, Any]) -> list[str]:
    """Name the entries that are not a tensor under a text, as all in a state dict are."""
    return [
        str(key)
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
