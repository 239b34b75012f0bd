"""`--batch-size auto` follows from memory, and what is counted is what autograd keeps."""

import pytest
import torch
from torch import nn

import medseg
from medseg.config import TrainConfig, make
from medseg.errors import UserError
from medseg.models import create_model
from medseg.training import memory
from medseg.training.memory import check_batch_size, fitting_batch_size, kept_bytes


def test_kept_bytes_of_a_known_network():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1, bias=False)
    )
    image = torch.zeros(2, 3, 16, 16)
    # the image for the first convolution, the rectified map for the second and for the rectifier
    # itself: one storage
    assert kept_bytes(net, image, "fp32") == 4 * 2 * 16 * 16 * (3 + 8)


def test_less_memory_gives_smaller_batches(monkeypatch):
    config = make(
        TrainConfig,
        {
            "data": "x",
            "base_channels": 8,
            "size": 64,
            "batch_size": "auto",
            "precision": "fp32",
            "accelerator": "cpu",
        },
    )
    found = []
    for gib in (64, 0.05, 0.02, 0.0001):
        monkeypatch.setattr(memory, "_main_memory", lambda gib=gib: int(gib * 2**30))
        found.append(fitting_batch_size(config, 2, 1))
    assert (
        found[0] == memory.LARGEST
        and found == sorted(found, reverse=True)
        and found[-1] == 1
        and len(set(found)) > 2
    )
    monkeypatch.setattr(memory, "_main_memory", lambda: 64 * 2**30)
    assert fitting_batch_size(config, 2, 3) == 3 * memory.LARGEST


def test_a_batch_beyond_memory_is_refused_before_it_kills_the_process(fast, monkeypatch, tmp_path):
    model = create_model("unet", base_channels=4).train()
    config = make(TrainConfig, {"data": "x", "size": 96, "batch_size": 8})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    whole = 8 * kept_bytes(model.eval(), torch.zeros(1, 3, 96, 96), "fp32")
    monkeypatch.setattr(memory, "_main_memory", lambda: 1.01 * whole)
    check_batch_size(config, model.train(), "fp32")
    assert model.training and all(
        torch.equal(before[name], value) for name, value in model.state_dict().items()
    )
    monkeypatch.setattr(memory, "_main_memory", lambda: 0.99 * whole)
    with pytest.raises(
        UserError, match=r"--batch-size 8: keeps about .* use --batch-size 5 with --accumulate 2"
    ):
        check_batch_size(config, model, "fp32")
    monkeypatch.setattr(memory, "_main_memory", lambda: 0.75 * whole)
    # the memory of the weights cast to bf16 is not counted for each image
    check_batch_size(config, model, "bf16")
    monkeypatch.setattr(memory, "_main_memory", lambda: 2**20)
    with pytest.raises(UserError, match="--batch-size"):
        medseg.train(**fast | {"accelerator": "cpu"})
    assert not (tmp_path / "run").exists()


def test_auto_is_resolved_in_the_run(fast, tmp_path):
    medseg.train(**fast | {"batch_size": "auto", "epochs": 1})
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "batch_size: 12" in text  # all images


@pytest.mark.parametrize("wrong", [0, -2, "some", 1.5])
def test_wrong_counts(wrong):
    with pytest.raises(
        UserError, match=r"--batch-size: got .* expected a whole number of at least 1, or auto"
    ):
        make(TrainConfig, {"data": "x", "batch_size": wrong})
