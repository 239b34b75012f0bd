"""What every network promises, whatever its wiring."""

import shutil

import pytest
import torch

from medseg.models import MODELS, create_model

NETWORKS = {
    "unet": {"base_channels": 4},
    "unetpp": {"base_channels": 4, "auxiliary": True},
    "resunet": {"base_channels": 4},
    "resunetpp": {"base_channels": 32},
    "ducknet": {"base_channels": 3},
    "smp": {"encoder": "resnet18", "encoder_weights": None},
}
EVERY = pytest.mark.parametrize("name", NETWORKS)


def build(name, **options):
    torch.manual_seed(0)
    return create_model(name, **NETWORKS[name] | options)


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def settled(name, **options):
    """In eval mode, with running statistics that differ from their start."""
    net = build(name, **options).train()
    with torch.no_grad():
        for _ in range(3):
            net(images(2, options.get("in_channels", 3), 64, 64))
    return net.eval()


def test_every_network_is_under_contract():
    assert NETWORKS.keys() == MODELS.keys()


@EVERY
@pytest.mark.parametrize("size", [(65, 97), (33, 32), (7, 130), (1, 1)])
def test_any_size(name, size):
    with torch.no_grad():
        logits = settled(name)(images(2, 3, *size))
    assert logits.shape == (2, 2, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@EVERY
def test_padding_is_outside_and_at_the_bottom_right(name):
    net, x = settled(name), images(1, 3, 70, 97)
    bottom, right = (-side % net.stride for side in (70, 97))
    padded = torch.nn.functional.pad(x, (0, right, 0, bottom), mode="replicate")
    assert net.fit(padded) is padded
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(padded)[..., :70, :97], rtol=1e-4, atol=1e-4)


@EVERY
@pytest.mark.parametrize(("channels", "classes"), [(1, 1), (5, 7)])
def test_any_number_of_channels_and_classes(name, channels, classes):
    with torch.no_grad():
        assert settled(name, in_channels=channels, classes=classes)(
            images(1, channels, 40, 64)
        ).shape == (1, classes, 40, 64)


@EVERY
@pytest.mark.parametrize("side", [32, 64, 97])
def test_batch_of_one_in_training(name, side):
    net = build(name).train()
    logits = net(images(1, 3, side, side))
    logits.square().mean().backward()
    assert logits.shape == (1, 2, side, side)
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


@EVERY
def test_gradient_to_every_parameter(name):
    net = build(name).train()
    sum(y.square().mean() for y in net.multiscale(images(2, 3, 64, 64)).values()).backward()
    without = [
        key
        for key, p in net.named_parameters()
        if p.grad is None or (p.ndim > 1 and not p.grad.any())
    ]
    assert not without


@EVERY
def test_same_logits_after_save_and_load(name, tmp_path):
    net, x = settled(name), images(1, 3, 64, 64)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(7)
    other = create_model(name, **NETWORKS[name]).eval()
    with torch.no_grad():
        assert not torch.equal(other(x), net(x))
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other(x), net(x))


@EVERY
def test_eval_is_deterministic_and_each_image_alone(name):
    net, x = settled(name), images(3, 3, 64, 64)
    with torch.no_grad():
        logits = net(x)
        assert torch.equal(net(x), logits)
        torch.testing.assert_close(net(x[1:2]), logits[1:2], rtol=1e-4, atol=1e-4)


@EVERY
def test_channels_last_equals_contiguous(name):
    net, x = settled(name), images(2, 3, 64, 65)
    with torch.no_grad():
        expected = net(x)
        actual = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@EVERY
def test_heads_and_features_have_names(name):
    net, x = settled(name), images(2, 3, 33, 64)
    with torch.no_grad():
        heads, features = net.multiscale(x), net.features(x)
        assert heads.keys() == {"main", *MODELS[name].auxiliary}
        assert all(y.shape == (2, 2, 33, 64) for y in heads.values())
        assert torch.equal(heads["main"], net(x))
    assert len(features) > 4
    assert all(y.ndim == 4 and y.numel() and y.isfinite().all() for y in features.values())


@EVERY
def test_bfloat16(name):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert settled(name)(images(1, 3, 60, 64).bfloat16()).isfinite().all()


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_compiled_graph_equals_eager(name, training):
    compiled_equals_eager(name, training, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler to compile with"
)
@pytest.mark.parametrize("name", ["unet", "resunetpp"])
def test_compiled_code_equals_eager(name):
    compiled_equals_eager(name, False, "inductor")


def compiled_equals_eager(name, training, backend):
    torch.compiler.reset()
    net, other, x = (
        settled(name).train(training),
        settled(name).train(training),
        images(2, 3, 64, 50),
    )
    other.compile(backend=backend)
    with torch.set_grad_enabled(training):
        expected, actual = net(x), other(x)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
    assert other.state_dict().keys() == net.state_dict().keys()
    if training:
        for y in (expected, actual):
            y.square().mean().backward()
        for (key, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
            if p.grad is not None:
                torch.testing.assert_close(q.grad, p.grad, rtol=1e-2, atol=1e-4, msg=key)
