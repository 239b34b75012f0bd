"""Trainings that could not go well, or could not begin: one line about it, and a way round."""

from pathlib import Path

import numpy as np
import pytest
import torch
from loguru import logger
from scenes import pairs, write

import medseg
from medseg.config.parse import read_yaml
from medseg.errors import UserError
from medseg.models import create_model
from medseg.runs import Checkpoint
from medseg.training.learner import start_from

TINY = {"model": "unet", "base_channels": 4, "size": 32, "batch_size": 4, "epochs": 1}
TINY |= {"accelerator": "cpu", "precision": "fp32", "threads": 1}
TINY |= {"tensorboard": False, "progress": False}


@pytest.fixture
def said():
    """The lines that are logged."""
    lines = []
    sink = logger.add(lines.append, format="{message}")
    yield lines
    logger.remove(sink)


def parts(root, validation):
    """A divided folder; `validation` turns the masks of that part into what is stored."""
    for part, count, start in (("train", 8, 0), ("validation", 3, 100), ("test", 3, 200)):
        coding = validation if part == "validation" else lambda mask, index: mask * 255
        pairs(root / part, count, coding, start=start)
    return str(root)


@pytest.mark.parametrize("options", [{}, {"patience": 1, "epochs": 3}], ids=["plain", "patience"])
def test_without_foreground_in_validation_the_last_weights_are_kept(tmp_path, said, options):
    data = parts(tmp_path / "set", lambda mask, index: mask * 0)
    run = medseg.train(**TINY | {"data": data, "out": str(tmp_path / "run")} | options)["run"]
    lines = [line for line in said if "no foreground" in line]
    assert len(lines) == 1 and "--select last" in lines[0] and "3 masks" in lines[0]
    assert ("--patience" in lines[0]) == ("patience" in options)
    assert said.index(lines[0]) < next(i for i, line in enumerate(said) if "epoch 1/" in line)
    assert not (Path(run) / "best.pt").exists()
    assert Checkpoint.load(Path(run)).epoch == options.get("epochs", 1)
    assert read_yaml(Path(run) / "config.yaml")["select"] == "last"
    assert medseg.train(resume=run, epochs=4, progress=False)["summaries"]


def test_one_lesion_in_validation_is_enough_to_choose_by(tmp_path, said):
    data = parts(tmp_path / "set", lambda mask, index: mask * 255 * (index == 2))
    run = medseg.train(**TINY | {"data": data, "out": str(tmp_path / "run")})["run"]
    assert not any("no foreground" in line for line in said)
    assert (Path(run) / "best.pt").exists()


def test_without_foreground_in_training_there_is_nothing_to_learn(tmp_path):
    data = parts(tmp_path / "set", lambda mask, index: mask * 255)
    for file in (tmp_path / "set" / "train" / "masks").iterdir():
        write(file, np.zeros((72, 80), np.uint8))
    with pytest.raises(UserError, match="none of the 8 training masks has foreground"):
        medseg.train(**TINY | {"data": data, "out": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


def three_classes(mask, index):
    return (mask * (index % 2 + 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    """The folder of a run of two classes."""
    root = tmp_path_factory.mktemp("two")
    data = str(pairs(root / "set", 8))
    return medseg.train(**TINY | {"data": data, "out": str(root / "run")})["run"]


def test_a_run_of_two_classes_is_the_start_of_one_of_three(two_classes, tmp_path, said):
    data = str(pairs(tmp_path / "set", 8, three_classes, start=500))
    options = TINY | {"data": data, "out": str(tmp_path / "run"), "init": two_classes, "lr": 1e-12}
    run = medseg.train(**options)["run"]
    lines = [line for line in said if "start anew" in line]
    assert len(lines) == 1
    assert "2 classes" in lines[0] and "has 3: " in lines[0] and "head.weight" in lines[0]
    before, after = (Checkpoint.load(Path(each)).weights for each in (two_classes, run))
    assert after["head.weight"].shape[0] == 3
    for key, value in before.items():
        if key != "head.weight" and "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(after[key], value, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="of another network"):
        medseg.train(**options | {"out": str(tmp_path / "other"), "base_channels": 8})


NETWORKS = {
    "unetpp": ({"base_channels": 2, "auxiliary": True}, 4),
    "resunetpp": ({"base_channels": 16}, 1),
    "resunet": ({"base_channels": 4}, 1),
    "smp": ({"encoder": "resnet18", "decoder": "fpn", "encoder_weights": None}, 2),
}


def checkpoint(name, options, classes):
    model = create_model(name, classes=classes, **options)
    preprocessing = medseg.preprocessing.Preprocessing((32, 32))
    weights = {key: value + 1 for key, value in model.state_dict().items()}
    return Checkpoint({"name": name}, weights, preprocessing, classes, "index", 1, 0.5, "dice", {})


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("before", "after"), [(2, 5), (4, 2)])
def test_every_network_takes_over_all_but_its_heads(name, before, after):
    options, heads = NETWORKS[name]
    given = checkpoint(name, options, before)
    model = create_model(name, classes=after, **options)
    first = {key: value.clone() for key, value in model.state_dict().items()}
    start_from(model, given, "--init RUN", after)
    kept = [key for key, value in model.state_dict().items() if torch.equal(value, first[key])]
    assert len(kept) == heads and all(first[key].shape[0] == after for key in kept)
    for key in first.keys() - set(kept):
        assert torch.equal(model.state_dict()[key], given.weights[key])


def test_weights_without_auxiliary_heads_are_refused_where_they_are_asked_for():
    given = checkpoint("unetpp", {"base_channels": 2}, 2)
    model = create_model("unetpp", classes=3, base_channels=2, auxiliary=True)
    with pytest.raises(UserError, match=r"--init RUN is of another network: 3 of .* auxiliary"):
        start_from(model, given, "--init RUN", 3)
