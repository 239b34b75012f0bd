"""Options of the library's decoders: passed on, kept in the checkpoint, refused by name."""

import pytest
import torch

import medseg
from medseg.errors import UserError
from medseg.models import create_model, decoder_options
from medseg.runs import Checkpoint

THIN = ("decoder_segmentation_channels=16",)


def test_words_become_values():
    found = decoder_options(["decoder_channels=[64,48,32]", "upsampling=2", "decoder_use_norm=no"])
    assert found == {"decoder_channels": [64, 48, 32], "upsampling": 2, "decoder_use_norm": False}


@pytest.mark.parametrize("word", ["decoder_channels", "=3", "decoder_channels=[1, "])
def test_words_of_another_form_are_refused(word):
    with pytest.raises(UserError, match="--decoder-options"):
        decoder_options([word])


def test_an_option_of_another_decoder_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"fpn has no such .*decoder_pyramid_channels"):
        create_model("smp", decoder="fpn", decoder_channels=[8])


def test_they_travel_with_the_checkpoint(fast, tmp_path):
    options = {"model": "smp", "encoder": "resnet18", "decoder": "segformer"}
    options |= {"encoder_weights": "none", "base_channels": None, "size": 64, "epochs": 1}
    medseg.train(**fast | options | {"decoder_options": THIN})
    checkpoint = Checkpoint.load(tmp_path / "run")
    network = checkpoint.build()
    assert checkpoint.network["decoder_segmentation_channels"] == 16
    assert network.segmentation_head[0].in_channels == 16
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_they_belong_to_smp(fast):
    with pytest.raises(UserError, match=r"--decoder-options .*: belongs to --model smp"):
        medseg.train(**fast | {"decoder_options": THIN})
