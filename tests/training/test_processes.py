"""Two CPU processes are one process with the same global batch."""

import json
import subprocess
import sys

import cv2
import pytest
import torch

from medseg.files import read_csv
from medseg.models import create_model

pytestmark = pytest.mark.slow


def flags(fast, **changes):
    words = ["train"]
    for key, value in (fast | changes).items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{key.replace('_', '-')}")
        else:
            words += [f"--{key.replace('_', '-')}", *str(value).split()]
    return words


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def compare(one, two):
    """The losses agree within rounding, and so do the final weights.

    Dice does not: a network trained for three epochs says nearly one half everywhere, and rounding
    decides about its masks. See the next test for them.
    """
    rows = [read_csv(folder / "metrics.csv") for folder in (one, two)]
    for a, b in zip(*rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=5e-4)
    a, b = (torch.load(folder / "last.pt", weights_only=True)["weights"] for folder in (one, two))
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=5e-3, rtol=5e-2)


LAUNCHERS = pytest.mark.parametrize("launcher", ["devices", "torchrun"])
COMMAND = [sys.executable, "-m", "medseg"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train_in_two(launcher, fast):
    """Train with two processes, that medseg or torchrun starts."""
    if launcher == "devices":
        run([*COMMAND, *flags(fast, devices=2)])
    else:
        run([*TORCHRUN, "-m", "medseg", *flags(fast)])


def evaluate(folder, out, part):
    """Evaluate in one process, with another batch size than in training; the summary."""
    options = ["--split-part", part, "--accelerator", "cpu", "--precision", "fp32"]
    options += ["--batch-size", "2", "--no-progress"]
    run([*COMMAND, "evaluate", str(folder), "--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


@LAUNCHERS
def test_two_processes_match_one(fast, tmp_path, launcher):
    fast = fast | {"optimizer": "sgd", "lr": 0.005, "epochs": 3, "size": 64, "batch_size": 6}
    run([*COMMAND, *flags(fast, out=tmp_path / "one")])
    train_in_two(launcher, fast | {"out": tmp_path / "two"})
    compare(tmp_path / "one", tmp_path / "two")


@LAUNCHERS
def test_two_processes_count_what_one_does(fast, separated, tmp_path, launcher):
    """The numbers that two processes report are, to the last count, those of one process."""
    fast = fast | {"init": separated, "lr": 1e-12, "epochs": 3, "batch_size": 6}
    run([*COMMAND, *flags(fast, out=tmp_path / "one")])
    train_in_two(launcher, fast | {"out": tmp_path / "two"})
    one, two = (read_csv(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    for a, b in zip(one, two, strict=True):
        assert a["val_dice"] == pytest.approx(b["val_dice"], abs=1e-9)
    evaluate(tmp_path / "two", tmp_path / "test", "test")
    assert read_csv(tmp_path / "test" / "per_image.csv") == read_csv(
        tmp_path / "two" / "report" / "test" / "per_image.csv"
    )
    summary = evaluate(tmp_path / "two", tmp_path / "validation", "validation")
    best = max(row["val_dice"] for row in two)
    assert summary["n_images"] == 4
    assert summary["protocols"]["per-image-foreground"]["dice"] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        # sums in another order: 1e-4; divided by local pixels it would be 0.28
        ({"loss": "ce", "resize": "letterbox"}, 1e-3),
        ({"loss": "focal+dice", "class_weights": "1 5", "resize": "letterbox"}, 1e-3),
        ({"loss": "ohem"}, 1e-3),  # rounding decides whether a pixel at the threshold is hard
    ],
    ids=["ce", "focal", "ohem"],
)
def test_the_gradient_of_two_processes_is_that_of_one(fast, dataset, tmp_path, options, tolerance):
    """After one step at a rate of 0.1, without momentum: what the weights have moved by."""
    tall = cv2.imread(str(dataset / "train" / "images" / "frame000.png"))[:, :24]
    mask = cv2.imread(str(dataset / "train" / "masks" / "frame000.png"))[:, :24]
    cv2.imwrite(str(dataset / "train" / "images" / "frame000.png"), tall)
    cv2.imwrite(str(dataset / "train" / "masks" / "frame000.png"), mask)
    plain = {"optimizer": "sgd", "momentum": 0, "lr": 0.1, "schedule": "constant", "epochs": 1}
    plain |= {"warmup_epochs": 0, "weight_decay": 0, "batch_size": 12, "augment": False}
    moved = []
    for devices in (1, 2):
        torch.manual_seed(0)
        start = create_model("unet", base_channels=4).state_dict()
        out = tmp_path / str(devices)
        run([*COMMAND, *flags(fast | plain | options | {"out": out, "devices": devices})])
        weights = torch.load(out / "last.pt", weights_only=True)["weights"]
        moved.append(
            torch.cat(
                [
                    (weights[key] - value).flatten()
                    for key, value in start.items()
                    if "run" not in key
                ]
            )
        )
    assert (moved[0] - moved[1]).norm() < tolerance * moved[0].norm()


def test_two_processes_resume(fast, tmp_path):
    run([*COMMAND, *flags(fast, out=tmp_path / "whole", epochs=3, devices=2, ema=0.9)])
    run(
        [
            *COMMAND,
            *flags(
                fast, out=tmp_path / "halves", epochs=2, devices=2, ema=0.9, schedule="constant"
            ),
        ]
    )
    run([*COMMAND, "train", "--resume", str(tmp_path / "halves"), "--epochs", "3"])
    assert [row["epoch"] for row in read_csv(tmp_path / "halves" / "metrics.csv")] == [1, 2, 3]


def test_a_batch_that_cannot_be_shared_is_refused(fast):
    done = subprocess.run(
        [*COMMAND, *flags(fast, devices=2, batch_size=3)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "--batch-size 3: cannot be shared equally by 2 processes; use 2 or 4" in done.stderr
