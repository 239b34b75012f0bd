"""Dilated convolutions are trained in float32 on a CPU whatever the precision of the rest."""

import pytest
import torch

from medseg.models import create_model
from medseg.models.blocks import DilatedConv2d, guard_dilated


@pytest.mark.parametrize(
    ("channels", "dilation", "guarded"),
    [(17, 2, True), (34, 3, True), (32, 2, False), (17, 1, False)],
)
def test_weight_gradients_under_bf16_are_those_of_float32(channels, dilation, guarded):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    )
    guard_dilated(net)
    assert isinstance(net[0], DilatedConv2d) == guarded
    if not guarded:
        return
    x = (
        torch.randn(2, channels, 24, 24)
        .bfloat16()
        .float()
        .contiguous(memory_format=torch.channels_last)
    )
    found = []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = net(x)
        assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
        y.backward(torch.ones_like(y))
        found.append(net[0].weight.grad.clone())
    assert torch.equal(*found)


def test_every_gradient_of_a_ducknet_step_in_bf16_is_finite():
    model = create_model("ducknet").to(memory_format=torch.channels_last).train()
    assert sum(isinstance(module, DilatedConv2d) for module in model.modules()) > 10
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    logits.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert (
        "duck.0.branches.0.2.0.weight" in model.state_dict()
    )  # the names of checkpoints are as they were
