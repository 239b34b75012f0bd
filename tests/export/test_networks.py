"""Every network of ours, each decoder and some encoders of the library, in ONNX Runtime."""

import numpy as np
import pytest
import torch
from torch import nn

from medseg.models import create_model
from medseg.models.fold import fold_batch_norm
from medseg.preprocessing import Preprocessing

onnxruntime = pytest.importorskip("onnxruntime", reason="medseg[export] is not installed")
SMP = [
    ("unet", "resnet18"),
    ("unetplusplus", "mobilenet_v2"),
    ("fpn", "mit_b0"),
    ("deeplabv3plus", "tu-tf_efficientnet_lite0"),
    ("manet", "resnet18"),
    ("linknet", "tu-tf_efficientnet_lite0"),
    ("segformer", "mit_b0"),
]
NETWORKS = [
    ("unet", {"base_channels": 8}),
    ("unetpp", {"base_channels": 8, "auxiliary": True}),
    ("resunet", {"base_channels": 8}),
    ("resunetpp", {"base_channels": 16}),
    ("ducknet", {"base_channels": 3}),
    *(("smp", {"decoder": decoder, "encoder": encoder}) for decoder, encoder in SMP),
]


def untrained(name, options):
    """A network with running statistics as after training, in eval mode."""
    torch.manual_seed(0)
    network = create_model(name, encoder_weights=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return fold_batch_norm(network, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), NETWORKS, ids=[" ".join(map(str, (n, *o.values()))) for n, o in NETWORKS]
)
def test_logits_are_those_of_the_run(name, options):
    from medseg.export.formats import capture, onnx_model
    from medseg.export.graph import ImageToMask
    from medseg.inference.exported import Card

    preprocessing = Preprocessing((96, 64), "letterbox", mean=(0.5,) * 3, std=(0.25,) * 3)
    network = untrained(name, options)
    graph = ImageToMask(network, preprocessing, classes=2, probability=True).eval()
    example = torch.zeros((2, 50, 60, 3), dtype=torch.uint8)
    card = Card(preprocessing, 2, ("mask", "probability"))
    model = onnx_model(capture(graph, example), card, opset=18, ir=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.random.default_rng(0).integers(0, 256, (2, 70, 101, 3), dtype=np.uint8)
    fitted = torch.from_numpy(np.stack([preprocessing.fit(each) for each in image]))
    with torch.inference_mode():
        logits = network(preprocessing.normalise(fitted))
        margin = preprocessing.restore(logits[:, 1:] - logits[:, :1], (70, 101))
    expected = torch.sigmoid(margin[:, 0]).numpy()
    found = session.run(["probability"], {"image": image})[0][:, 1]
    assert np.abs(found - expected).mean() < 1e-4
    assert np.abs(found - expected).max() < 2e-2  # a value of the image may differ by one level
