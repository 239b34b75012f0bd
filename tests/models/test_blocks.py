"""Convolutions whose gradients PyTorch gets wrong on some CPUs are computed another way."""

import subprocess
import sys

import pytest
import torch

from medseg.models import create_model
from medseg.models.blocks import DilatedConv2d, SubsampledConv2d, guard_convolutions


@pytest.mark.parametrize(
    ("channels", "dilation", "guarded"),
    [(17, 2, True), (34, 3, True), (32, 2, False), (17, 1, False)],
)
def test_weight_gradients_under_bf16_are_those_of_float32(channels, dilation, guarded):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    )
    guard_convolutions(net)
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


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "guarded"),
    [(3, 16, 2, True), (8, 8, 2, True), (3, 32, 2, False), (16, 16, 2, False), (3, 16, 1, False)],
)
def test_a_strided_pointwise_convolution_is_what_it_was(inputs, outputs, stride, guarded):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False).double()
    net = torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False)).double()
    net[0].load_state_dict(plain.state_dict())
    guard_convolutions(net)
    assert isinstance(net[0], SubsampledConv2d) == guarded
    x = torch.randn(2, inputs, 33, 20, dtype=torch.float64)
    x, y = (x.to(memory_format=form) for form in (torch.channels_last, torch.contiguous_format))
    found, expected = net(x), plain(y)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(net[0].weight.grad, plain.weight.grad)


def test_a_small_residual_network_survives_training():
    """In a process of its own: where the weight gradient writes beyond its buffer, it dies."""
    code = (
        "import torch; from medseg.models import create_model; torch.manual_seed(0)\n"
        "for name, width in (('resunetpp', 16), ('resunet', 8)):\n"
        "    net = create_model(name, base_channels=width).to(memory_format=torch.channels_last)\n"
        "    for _ in range(40):\n"
        "        x = torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)\n"
        "        net.zero_grad(); net(x).square().mean().backward()\n"
        "    assert all(p.grad.isfinite().all() for p in net.parameters())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
