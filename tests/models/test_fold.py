"""A folded network predicts what the network predicts."""

import pytest
import torch
from torch import nn

from medseg.models import create_model
from medseg.models.fold import fold_batch_norm

NETWORKS = {
    "unet": {"base_channels": 4},
    "unetpp": {"base_channels": 4},
    "resunet": {"base_channels": 4},
    "resunetpp": {"base_channels": 32},
    "ducknet": {"base_channels": 3},
    "resnet18": {"encoder": "resnet18"},
    "lite0": {"encoder": "tu-tf_efficientnet_lite0"},
    "densenet": {"encoder": "densenet121"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_logits(name):
    torch.manual_seed(0)
    smp = "encoder" in NETWORKS[name]
    net = create_model("smp" if smp else name, encoder_weights=None, **NETWORKS[name])
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.randn(2, 3, 64, 64) * 2 + 1)
    folded = fold_batch_norm(net, 3)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in each.modules()) for each in (net, folded)]
    assert folded is not net and norms[1] < norms[0] / 1.5
    x = torch.randn(2, 3, 70, 50)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net.eval()(x), rtol=1e-3, atol=1e-3)


class Read(nn.Module):
    """A convolution whose output is read twice: folding would change what the second one sees."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)
        nn.init.constant_(self.norm.weight, 3)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


def test_an_output_that_is_read_twice_is_left_alone():
    net = Read()
    assert fold_batch_norm(net, 3) is net


def test_a_convolution_used_twice_is_left_alone():
    norm, conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
    net = nn.Sequential(conv, norm, conv, nn.BatchNorm2d(3))
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 8, 8) + 2)
    x = torch.randn(1, 3, 8, 8)
    folded = fold_batch_norm(net, 3)
    torch.testing.assert_close(folded(x), net.eval()(x))
