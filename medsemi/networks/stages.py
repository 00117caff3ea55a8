"""The parts of a known network that make features: its encoder, and the scales of its decoder."""

from __future__ import annotations

import re

from torch import nn

from medsemi.errors import ConfigError

# Without the last one, which makes the logits.
DECODER_STAGES = (
    ("decoder.block_six", "decoder.block_seven", "decoder.block_eight"),  # VNet
    ("decoder.up1", "decoder.up2", "decoder.up3"),  # UNet2D
)

ENCODERS = ("encoder", "bottleneck")  # of VNet and UNet2D, and the deepest stage of DynUNet


def encoder_part(network: nn.Module) -> str | None:
    """Return the name of the part that ends the encoder; None for another architecture."""
    parts = dict(network.named_children())
    return next((name for name in ENCODERS if name in parts), None)


def decoder_stages(network: nn.Module) -> dict[str, int]:
    """Return the coarse parts of the decoder of `VNet`, `UNet2D` or MONAI's `DynUNet`.

    Returns:
        Name of the part, from coarse to fine -> channels of its output, which its last convolution
        makes; empty for a network of another architecture.
    """
    parts = dict(network.named_modules())
    upsamples = [name for name in parts if re.fullmatch(r"upsamples\.\d+", name)]  # DynUNet
    for names in (*DECODER_STAGES, tuple(upsamples[:-1])):
        if names and all(name in parts for name in names):
            return {name: out_channels(parts[name]) for name in names}
    return {}


def out_channels(part: nn.Module) -> int:
    """Return the channels that the last convolution of a part makes.

    Raises:
        ConfigError: if it has no convolution.
    """
    channels = [getattr(module, "out_channels", None) for module in part.modules()]
    known = [count for count in channels if count is not None]
    if not known:
        msg = f"{type(part).__name__} has no convolution, so that its channels are not known."
        raise ConfigError(msg)
    return int(known[-1])
