"""URPC: the reference number, equal scales, and heads on networks as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medsemi.batch import Batch, Sub
from medsemi.errors import ConfigError
from medsemi.methods.urpc import URPC, pyramid_consistency
from medsemi.networks.unet2d import UNet2D
from medsemi.networks.vnet import VNet
from medsemi.parts.losses import dice_form, labeled_losses


def batch(axes: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image, other = (torch.randn(1, 1, *(16,) * axes, generator=generator) for _ in range(2))
    label = torch.randint(2, (1, *(16,) * axes), generator=generator).to(torch.uint8)
    return Batch(Sub(image, label, ("a",)), Sub(other, None, ("c",)))


def method(axes: int, **settings) -> URPC:
    torch.manual_seed(0)
    if axes == 2:
        network: nn.Module = UNet2D(out_channels=2, filters=4, dropout=0.0)
        stages = {"decoder.up1": 32, "decoder.up2": 16, "decoder.up3": 8}
    else:
        network = VNet(filters=2, norm="group", dropout=0.0)
        stages = {"decoder.block_six": 16, "decoder.block_seven": 8, "decoder.block_eight": 4}
    return URPC(network, classes=2, stages=stages, rampup_steps=0, **settings)


def test_the_reference_number(reference_logits) -> None:
    r = reference_logits
    assert pyramid_consistency([r.a, r.b, r.c]).item() == pytest.approx(0.29683087, abs=1e-6)


def test_equal_scales_lose_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pyramid_consistency([logits] * 4)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6


def test_the_mean_takes_part_in_the_gradient_unless_it_is_detached() -> None:
    one, other = (torch.randn(1, 3, 4, 4, requires_grad=True) for _ in range(2))
    values = [pyramid_consistency([one, other], detach_mean=detach) for detach in (False, True)]
    gradients = [torch.autograd.grad(value, one)[0] for value in values]
    assert torch.equal(values[0], values[1])
    assert not torch.allclose(gradients[0], gradients[1])


@pytest.mark.parametrize("axes", [2, 3])
def test_every_scale_has_the_size_of_the_window_and_is_learned(axes: int) -> None:
    net, data = method(axes), batch(axes)
    scales = net.pyramid(torch.cat([data.labeled.image, data.unlabeled.image]))
    assert len(scales) == 4
    assert {tuple(z.shape) for z in scales} == {(2, 2, *(16,) * axes)}
    net(data, None, 0).total.backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.seen is None  # features are not held beyond the pass


def test_the_labeled_terms_are_means_over_scales() -> None:
    net, data = method(2, head_dropout=0.0).eval(), batch(2)
    scales = net.pyramid(data.labeled.image)
    losses = [labeled_losses(z, data.labeled.label, dice_form("linear")) for z in scales]
    found = net(data, None, 0)
    for name in ("dice_labeled", "ce_labeled"):
        expected = torch.stack([one[name] for one in losses]).mean()
        torch.testing.assert_close(found.terms[name], expected)


def test_coarse_scales_lie_where_the_window_lies() -> None:
    """A ramp along an axis stays a ramp around the same center; nearest would shift it."""
    network = nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 1))
    net = URPC(network, classes=1, stages={"0": 1}, rampup_steps=0)
    net.heads[0] = nn.Identity()
    ramp = torch.arange(16.0).view(1, 1, 16, 1).expand(1, 1, 16, 16)
    torch.testing.assert_close(net.pyramid(ramp)[1][..., 1:-1, :], ramp[..., 1:-1, :])


def test_a_compiled_network_is_seen_too() -> None:
    net, data = method(2).eval(), batch(2)
    expected = net.pyramid(data.labeled.image)
    net.student.compile(backend="eager")
    for one, other in zip(expected, net.pyramid(data.labeled.image), strict=True):
        torch.testing.assert_close(one, other)


def test_a_stage_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"stages names 'decoder\.up9'"):
        URPC(UNet2D(filters=4), classes=4, stages={"decoder.up9": 8}, rampup_steps=0)
