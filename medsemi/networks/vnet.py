"""The V-Net of the semi-supervised literature.

Every published result on the left atrium and the pancreas that this package compares with uses this
network: stages of 3-convolutions, strided convolutions between them, skip connections by *addition*.
It is another network than `monai.networks.nets.VNet` (5-convolutions, concatenation, 45.6 M
parameters). Modules carry the published names, so that published checkpoints load by key.

Source: Milletari, Navab, Ahmadi: V-Net (3DV 2016), in the form of Yu et al.: UA-MT (MICCAI 2019).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from medsemi.errors import ConfigError

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP_CONV: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_DROPOUT: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
_BATCH_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORM: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}

_MAX_GROUPS = 16
NORMS = ("batch", "instance", "group", "none")


class _Layers:
    """Builds the layers of one network: dimensions and normalization are decided once."""

    def __init__(self, spatial_dims: int, norm: str, norm_affine: bool) -> None:
        if spatial_dims not in _CONV:
            raise ConfigError(f"spatial_dims is {spatial_dims}; use 2 or 3.")
        if norm not in NORMS:
            raise ConfigError(f"norm is {norm!r}; use one of {', '.join(NORMS)}.")
        self.dims = spatial_dims
        self.norm = norm
        self.affine = norm_affine

    def stage(self, convolution: nn.Module, channels: int) -> list[nn.Module]:
        """A convolution with its normalization and activation."""
        return [convolution, *self._norm(channels), nn.ReLU(inplace=True)]

    def conv(self, in_channels: int, channels: int, kernel_size: int) -> nn.Module:
        """A convolution that keeps the size."""
        return _CONV[self.dims](in_channels, channels, kernel_size, padding=kernel_size // 2)

    def dropout(self, probability: float) -> nn.Module:
        """Dropout of whole channels."""
        return _DROPOUT[self.dims](probability)

    def block(self, in_channels: int, channels: int, convolutions: int) -> _Block:
        """Several 3-convolutions in a row."""
        layers: list[nn.Module] = []
        for index in range(convolutions):
            convolution = self.conv(channels if index else in_channels, channels, 3)
            layers += self.stage(convolution, channels)
        return _Block(layers)

    def down(self, channels: int) -> _Block:
        """Halves every axis and doubles the channels."""
        convolution = _CONV[self.dims](channels, 2 * channels, 2, stride=2)
        return _Block(self.stage(convolution, 2 * channels))

    def up(self, channels: int) -> _Block:
        """Doubles every axis and halves the channels."""
        convolution = _UP_CONV[self.dims](channels, channels // 2, 2, stride=2)
        return _Block(self.stage(convolution, channels // 2))

    def _norm(self, channels: int) -> list[nn.Module]:
        if self.norm == "batch":
            return [_BATCH_NORM[self.dims](channels, affine=self.affine)]
        if self.norm == "instance":
            return [_INSTANCE_NORM[self.dims](channels, affine=self.affine)]
        if self.norm == "group":
            groups = math.gcd(_MAX_GROUPS, channels)
            return [nn.GroupNorm(groups, channels, affine=self.affine)]
        return []


class _Block(nn.Module):
    """A sequence under the name `conv`, the level that published key names have."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _Encoder(nn.Module):
    def __init__(self, layers: _Layers, in_channels: int, filters: int, dropout: float) -> None:
        super().__init__()
        self.block_one = layers.block(in_channels, filters, 1)
        self.block_one_dw = layers.down(filters)
        self.block_two = layers.block(2 * filters, 2 * filters, 2)
        self.block_two_dw = layers.down(2 * filters)
        self.block_three = layers.block(4 * filters, 4 * filters, 3)
        self.block_three_dw = layers.down(4 * filters)
        self.block_four = layers.block(8 * filters, 8 * filters, 3)
        self.block_four_dw = layers.down(8 * filters)
        self.block_five = layers.block(16 * filters, 16 * filters, 3)
        self.dropout = layers.dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        one = self.block_one(x)
        two = self.block_two(self.block_one_dw(one))
        three = self.block_three(self.block_two_dw(two))
        four = self.block_four(self.block_three_dw(three))
        five = self.dropout(self.block_five(self.block_four_dw(four)))
        return one, two, three, four, five


class _Decoder(nn.Module):
    def __init__(self, layers: _Layers, out_channels: int, filters: int, dropout: float) -> None:
        super().__init__()
        self.block_five_up = layers.up(16 * filters)
        self.block_six = layers.block(8 * filters, 8 * filters, 3)
        self.block_six_up = layers.up(8 * filters)
        self.block_seven = layers.block(4 * filters, 4 * filters, 3)
        self.block_seven_up = layers.up(4 * filters)
        self.block_eight = layers.block(2 * filters, 2 * filters, 2)
        self.block_eight_up = layers.up(2 * filters)
        self.block_nine = layers.block(filters, filters, 1)
        self.dropout = layers.dropout(dropout)
        self.out_conv = layers.conv(filters, out_channels, 1)

    def forward(
        self, one: Tensor, two: Tensor, three: Tensor, four: Tensor, five: Tensor
    ) -> Tensor:
        six = self.block_six(self.block_five_up(five) + four)
        seven = self.block_seven(self.block_six_up(six) + three)
        eight = self.block_eight(self.block_seven_up(seven) + two)
        nine = self.block_nine(self.block_eight_up(eight) + one)
        logits: Tensor = self.out_conv(self.dropout(nine))
        return logits


class VNet(nn.Module):
    """V-Net as the semi-supervised literature uses it: 9,448,866 parameters by default.

    The published variants: left atrium `VNet()`; pancreas
    `VNet(norm="instance", norm_affine=False, dropout=0.0)`.

    Every axis of the input must be a multiple of 16. The published code also max-pools the deepest
    features for a result that nobody reads, and so needs 48 voxels per axis; here 16 are enough, but
    not for a norm that then has one voxel to work on: with instance norm, or batch norm and a single
    window, one axis needs 32.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        out_channels: classes with the background.
        filters: channels of the first stage; each of the four stages below doubles them.
        norm: "batch", "instance", "group" (at most 16 groups) or "none".
        norm_affine: whether the normalization has learned scale and shift.
        dropout: probability of dropping a channel after the deepest stage and before the last
            convolution, in train mode only.

    Raises:
        ConfigError: for an unknown `spatial_dims` or `norm`.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        filters: int = 16,
        norm: str = "batch",
        norm_affine: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if filters < 1:
            raise ConfigError(f"filters is {filters}; give 1 or more.")
        if not 0 <= dropout <= 1:
            raise ConfigError(f"dropout is {dropout}; give 0 to 1.")
        layers = _Layers(spatial_dims, norm, norm_affine)
        self.encoder = _Encoder(layers, in_channels, filters, dropout)
        self.decoder = _Decoder(layers, out_channels, filters, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Args:
            x: (batch, in_channels, *space).

        Returns:
            Logits (batch, out_channels, *space).
        """
        one, two, three, four, five = self.encoder(x)
        logits: Tensor = self.decoder(one, two, three, four, five)
        return logits
