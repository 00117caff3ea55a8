"""CFC-Net on a small network, and a batch for it."""

from __future__ import annotations

import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.methods.cfcnet import CFCNet
from medsemi.parts.ucf_mix import UCFMix

SPACE = (8, 8, 4)


def network(seed: int = 0, *, width: int = 4, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, width, 3, padding=1),
        nn.InstanceNorm3d(width, affine=True),
        nn.LeakyReLU(),
        nn.Dropout(dropout),
        nn.Conv3d(width, 3, 1),
    )


def batch(labeled: int = 2, unlabeled: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(labeled, 1, *SPACE, generator=generator)
    label = torch.randint(3, (labeled, *SPACE), generator=generator).to(torch.uint8)
    other = torch.randn(unlabeled, 1, *SPACE, generator=generator)
    ids = tuple("abcdefgh")
    return Batch(Sub(image, label, ids[:labeled]), Sub(other, None, ids[:unlabeled]))


def method(**settings: object) -> CFCNet:
    settings = {"mix": UCFMix(blocks=2), "rampup_steps": 0, **settings}
    return CFCNet(network(), **settings)


def drawn(net: CFCNet, given: Batch, seed: int = 3):
    return net.draw(given, torch.Generator().manual_seed(seed))


def run(net: CFCNet, given: Batch, step: int = 0):
    return net(given, drawn(net, given), step)


def students(net: CFCNet) -> tuple[nn.Module, nn.Module]:
    return net.students.low.network, net.students.high.network


def moved(net: nn.Module, seed: int, scale: float = 0.3) -> None:
    """Walk a network a little away from where it is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator))
