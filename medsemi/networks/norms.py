"""How a norm layer is told to networks of MONAI."""

from __future__ import annotations

from medsemi.errors import ConfigError

NORMS = ("instance", "batch")


def affine_norm(name: str) -> tuple[str, dict[str, bool]]:
    """Name and arguments of a norm layer that learns a scale and a shift of each channel.

    MONAI's own instance norm learns none, and the convolutions of its `DynUNet` have no bias either;
    nnU-Net's has both (`nnUNetPlans.json`: `norm_op_kwargs: {"eps": 1e-05, "affine": true}`).

    Args:
        name: `instance` or `batch`.

    Raises:
        ConfigError: for another name.
    """
    if name not in NORMS:
        raise ConfigError(f"norm is '{name}'; a planned network takes one of {', '.join(NORMS)}.")
    return name, {"affine": True}
