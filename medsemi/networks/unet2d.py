"""The 2D U-Net of the published cardiac (ACDC) results.

Source: `networks/unet.py` (UNet_2d) of the published Bidirectional Copy-Paste code (CVPR 2023),
inherited from SSL4MIS. Names of layers follow it, so that published checkpoints load; its contrastive
heads, which no result uses, are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from medsemi.errors import ConfigError

CHANNELS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)
SLOPE = 0.01  # of the leaky ReLU
# Published is batch norm; instance norm keeps windows of a batch apart.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
}


class _Block(nn.Module):
    """Twice: convolution, norm, leaky ReLU; dropout in between."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.conv_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            NORMS[norm](out_channels),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            NORMS[norm](out_channels),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv_conv(x)
        return result


class _Down(nn.Module):
    """Halves the plane, then a block."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, norm: str) -> None:
        super().__init__()
        block = _Block(in_channels, out_channels, dropout, norm)
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), block)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.maxpool_conv(x)
        return result


class _Up(nn.Module):
    """Doubles the plane, joins what the encoder kept, then a block."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(in_channels, out_channels, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = _Block(2 * out_channels, out_channels, dropout=0.0, norm=norm)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat([kept, self.up(self.conv1x1(x))], dim=1))
        return result


class _Encoder(nn.Module):
    def __init__(
        self, in_channels: int, channels: tuple[int, ...], dropout: float, norm: str
    ) -> None:
        super().__init__()
        rates = [dropout * rate for rate in DROPOUT]
        self.in_conv = _Block(in_channels, channels[0], rates[0], norm)
        self.down1 = _Down(channels[0], channels[1], rates[1], norm)
        self.down2 = _Down(channels[1], channels[2], rates[2], norm)
        self.down3 = _Down(channels[2], channels[3], rates[3], norm)
        self.down4 = _Down(channels[3], channels[4], rates[4], norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        one = self.in_conv(x)
        two = self.down1(one)
        three = self.down2(two)
        four = self.down3(three)
        return one, two, three, four, self.down4(four)


class _Decoder(nn.Module):
    def __init__(self, out_channels: int, channels: tuple[int, ...], norm: str) -> None:
        super().__init__()
        self.up1 = _Up(channels[4], channels[3], norm)
        self.up2 = _Up(channels[3], channels[2], norm)
        self.up3 = _Up(channels[2], channels[1], norm)
        self.up4 = _Up(channels[1], channels[0], norm)
        self.out_conv = nn.Conv2d(channels[0], out_channels, 3, padding=1)

    def forward(
        self, one: Tensor, two: Tensor, three: Tensor, four: Tensor, five: Tensor
    ) -> Tensor:
        x = self.up4(self.up3(self.up2(self.up1(five, four), three), two), one)
        logits: Tensor = self.out_conv(x)
        return logits


class UNet2D(nn.Module):
    """U-Net with bilinear upsampling; height and width are multiples of 16.

    With instance norm, or batch norm and a single window, one of them is at least 32, since a norm
    needs two values or more.

    With the defaults it has 1,813,764 parameters, those of the published results.

    Args:
        in_channels: channels of the image.
        out_channels: classes with the background.
        filters: channels of the first stage; each of the four stages below doubles them.
        dropout: factor of the published rates 0.05, 0.1, 0.2, 0.3 and 0.5 of the five stages of the
            encoder, in train mode only, at most 2; 0 switches it off.
        norm: `batch`, as published, or `instance`.

    Raises:
        ConfigError: if there is no such norm, or a number is out of its range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 4,
        filters: int = 16,
        dropout: float = 1.0,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"norm is {norm!r}; use one of {', '.join(NORMS)}.")
        if filters < 1:
            raise ConfigError(f"filters is {filters}; give 1 or more.")
        if not 0 <= dropout * DROPOUT[-1] <= 1:
            raise ConfigError(f"dropout is {dropout}; give 0 to {1 / DROPOUT[-1]:g}.")
        channels = tuple(filters * width // CHANNELS[0] for width in CHANNELS)
        self.encoder = _Encoder(in_channels, channels, dropout, norm)
        self.decoder = _Decoder(out_channels, channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Args:
            x: (batch, in_channels, height, width).

        Returns:
            Logits (batch, out_channels, height, width).
        """
        one, two, three, four, five = self.encoder(x)
        logits: Tensor = self.decoder(one, two, three, four, five)
        return logits
