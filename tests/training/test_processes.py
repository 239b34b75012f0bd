"""Two CPU processes are one process with the same global batch."""

import subprocess
import sys

import pytest
import torch

from medseg.files import read_csv

pytestmark = pytest.mark.slow


def flags(fast, **changes):
    words = ["train"]
    for key, value in (fast | changes).items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{key.replace('_', '-')}")
        else:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def compare(one, two):
    """The training curves agree within rounding, and so do the final weights."""
    rows = [read_csv(folder / "metrics.csv") for folder in (one, two)]
    for a, b in zip(*rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=5e-4)
        assert a["val_dice"] == pytest.approx(b["val_dice"], abs=2e-3)
    a, b = (torch.load(folder / "last.pt", weights_only=True)["weights"] for folder in (one, two))
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=5e-3, rtol=5e-2)


@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
def test_two_processes_match_one(fast, tmp_path, launcher):
    fast = fast | {"optimizer": "sgd", "lr": 0.005, "epochs": 3, "size": 64, "batch_size": 6}
    run([sys.executable, "-m", "medseg", *flags(fast, out=tmp_path / "one")])
    if launcher == "devices":
        run([sys.executable, "-m", "medseg", *flags(fast, out=tmp_path / "two", devices=2)])
    else:
        run(
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                "2",
                "-m",
                "medseg",
                *flags(fast, out=tmp_path / "two"),
            ]
        )
    compare(tmp_path / "one", tmp_path / "two")
    # the numbers that two processes report are, to the last count, those of one process that
    # evaluates the same weights
    run(
        [
            sys.executable,
            "-m",
            "medseg",
            "evaluate",
            str(tmp_path / "two"),
            "--accelerator",
            "cpu",
            "--precision",
            "fp32",
            "--out",
            str(tmp_path / "again"),
            "--batch-size",
            "2",
            "--no-progress",
        ]
    )
    assert read_csv(tmp_path / "again" / "per_image.csv") == read_csv(
        tmp_path / "two" / "report" / "test" / "per_image.csv"
    )
    run(
        [
            sys.executable,
            "-m",
            "medseg",
            "evaluate",
            str(tmp_path / "two"),
            "--accelerator",
            "cpu",
            "--precision",
            "fp32",
            "--out",
            str(tmp_path / "validation"),
            "--batch-size",
            "2",
            "--split-part",
            "validation",
            "--no-progress",
        ]
    )
    import json

    summary = json.loads((tmp_path / "validation" / "summary.json").read_text())
    best = max(row["val_dice"] for row in read_csv(tmp_path / "two" / "metrics.csv"))
    assert summary["n_images"] == 4
    assert summary["protocols"]["per-image-foreground"]["dice"] == pytest.approx(best, abs=1e-5)


def test_two_processes_resume(fast, tmp_path):
    command = [sys.executable, "-m", "medseg"]
    run([*command, *flags(fast, out=tmp_path / "whole", epochs=3, devices=2, ema=0.9)])
    run(
        [
            *command,
            *flags(
                fast, out=tmp_path / "halves", epochs=2, devices=2, ema=0.9, schedule="constant"
            ),
        ]
    )
    run([*command, "train", "--resume", str(tmp_path / "halves"), "--epochs", "3"])
    assert [row["epoch"] for row in read_csv(tmp_path / "halves" / "metrics.csv")] == [1, 2, 3]


def test_a_batch_that_cannot_be_shared_is_refused(fast):
    done = subprocess.run(
        [sys.executable, "-m", "medseg", *flags(fast, devices=2, batch_size=3)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "--batch-size 3: cannot be shared equally by 2 processes; use 2 or 4" in done.stderr
