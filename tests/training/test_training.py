"""The main job from Python: train, evaluate, predict, resume."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import medseg
from medseg.errors import Interrupted, UserError
from medseg.files import read_csv
from medseg.training import loop as engine
from medseg.training.resume import config_from
from medseg.training.session import train


def weights(run, file="last.pt"):
    return torch.load(f"{run}/{file}", weights_only=True)["weights"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_folder_explains_itself(fast, tmp_path):
    result = medseg.train(**fast)
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "splits",
        "metrics.csv",
        "best.pt",
        "last.pt",
        "report",
        "log.txt",
    } <= names
    assert (run / "splits" / "test.txt").read_text().split() == [
        f"frame{i}" for i in range(200, 205)
    ]
    rows = read_csv(run / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {
        "loss",
        "loss/ce",
        "loss/dice",
        "lr",
        "val_dice",
        "val_iou",
        "images_per_second",
    } <= rows[0].keys()
    summary = json.loads((run / "report" / "test" / "summary.json").read_text())
    assert summary["n_images"] == 5 and summary["part"] == "test"
    assert set(summary["protocols"]) == {
        "per-image-foreground",
        "pooled-foreground",
        "macro-with-background",
    }
    assert summary["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        result["summaries"]["test"]["protocols"]["per-image-foreground"]["dice"]
    )
    assert (run / "report" / "test" / "report.html").stat().st_size > 10_000
    assert config_from({"data": "x", **{}}).data.data == "x"


def test_it_learns(fast):
    result = medseg.train(**fast | {"epochs": 25, "base_channels": 8})
    assert result["summaries"]["test"]["protocols"]["per-image-foreground"]["dice"] > 0.8


def test_evaluate_repeats_the_numbers_of_training(fast):
    result = medseg.train(**fast)
    again = medseg.evaluate(
        result["run"], accelerator="cpu", precision="fp32", batch_size=4, progress=False
    )
    assert again["protocols"] == result["summaries"]["test"]["protocols"]
    validation = medseg.evaluate(
        result["run"], split_part="validation", accelerator="cpu", precision="fp32", batch_size=4
    )
    assert validation["protocols"] == result["summaries"]["validation"]["protocols"]
    best = max(read_csv(Path(fast["out"]) / "metrics.csv"), key=lambda row: row["val_dice"])
    assert validation["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        best["val_dice"], abs=1e-5
    )


def test_the_predictor_agrees_with_the_evaluation(fast, dataset, separated):
    result = medseg.train(**fast | {"init": separated, "lr": 1e-12})
    predictor = medseg.Predictor.load(result["run"], accelerator="cpu", precision="fp32")
    counts = {
        row["name"]: row
        for row in read_csv(Path(fast["out"]) / "report" / "test" / "per_image.csv")
    }
    for path in sorted((dataset / "test" / "images").iterdir()):
        mask = predictor(path)
        truth = medseg_mask(dataset / "test" / "masks" / path.name)
        assert mask.shape == truth.shape and mask.dtype == np.uint8
        assert counts[path.stem]["tp"] == int(((mask == 1) & truth).sum())
        assert counts[path.stem]["fp"] == int(((mask == 1) & ~truth).sum())
        probability = predictor.probability(path)[1]
        assert np.abs(probability - 0.5).min() > 1e-4
        np.testing.assert_array_equal(probability > 0.5, mask == 1)


def medseg_mask(path):
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127


def stop_after(monkeypatch, steps):
    """Make the run behave as if Ctrl-C came after so many steps."""
    seen = []
    original = engine.step

    def counted(*arguments):
        seen.append(1)
        return original(*arguments)

    monkeypatch.setattr(engine, "step", counted)
    from medseg.training import session as module

    real = module.stop_on_signals

    def pretend():
        class Context:
            def __enter__(self):
                return lambda: len(seen) >= steps

            def __exit__(self, *_):
                return False

        return Context()

    monkeypatch.setattr(module, "stop_on_signals", pretend)
    return lambda: (
        monkeypatch.setattr(engine, "step", original),
        monkeypatch.setattr(module, "stop_on_signals", real),
    )


@pytest.mark.parametrize("steps", [6, 7], ids=["at the end of an epoch", "in mid-epoch"])
@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9, "optimizer": "adamw"},
        {"optimizer": "sgd", "schedule": "poly", "clip": 1.0, "blur": 1.0},
        {
            "model": "smp",
            "encoder": "resnet18",
            "decoder": "deeplabv3plus",
            "encoder_weights": "none",
            "base_channels": None,
        },
    ],
    ids=["ema", "sgd", "dropout"],
)
def test_two_times_n_epochs_equal_n_plus_n_bit_for_bit(fast, tmp_path, monkeypatch, steps, options):
    fast = {
        key: value for key, value in (fast | {"epochs": 4} | options).items() if value is not None
    }
    train(config_from(fast | {"out": str(tmp_path / "whole")}))
    undo = stop_after(monkeypatch, steps)
    with pytest.raises(Interrupted):
        train(config_from(fast | {"out": str(tmp_path / "halves")}))
    undo()
    assert (
        torch.load(tmp_path / "halves" / "last.pt", weights_only=True)["training"]["state"][
            "updates"
        ]
        == steps
    )
    train(config_from({"resume": str(tmp_path / "halves")}))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "halves"))
    assert equal(weights(tmp_path / "whole", "best.pt"), weights(tmp_path / "halves", "best.pt"))
    whole, halves = (read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "halves"))
    for a, b in zip(whole, halves, strict=True):
        for key in a.keys() - {"seconds", "images_per_second"}:
            assert a[key] == b[key], key


def test_another_seed_gives_another_network(fast, tmp_path):
    medseg.train(**fast)
    medseg.train(**fast | {"seed": 1, "out": str(tmp_path / "other")})
    assert not equal(weights(tmp_path / "run"), weights(tmp_path / "other"))


def test_a_run_folder_is_never_overwritten_or_resumed_silently(fast, tmp_path):
    medseg.train(**fast)
    before = (tmp_path / "run" / "best.pt").read_bytes()
    with pytest.raises(UserError, match=r"exists already.*--resume"):
        medseg.train(**fast)
    assert (tmp_path / "run" / "best.pt").read_bytes() == before


def test_a_resumed_run_keeps_its_options(fast):
    run = medseg.train(**fast)["run"]
    with pytest.raises(UserError, match=r"--lr: a resumed run keeps 0\.01"):
        medseg.train(resume=run, lr=0.5)
    assert medseg.train(resume=run, epochs=3)["summaries"]
    assert [row["epoch"] for row in read_csv(Path(run) / "metrics.csv")] == [1, 2, 3]
    with pytest.raises(UserError, match=r"holds no last\.pt"):
        medseg.train(resume=run + "/report")


def test_a_resumed_run_refuses_other_images(fast, dataset):
    run = medseg.train(**fast)["run"]
    (dataset / "train" / "images" / "frame003.png").unlink()
    (dataset / "train" / "masks" / "frame003.png").unlink()
    with pytest.raises(UserError, match="1 of its images are not in set any more: frame003"):
        medseg.train(resume=run, epochs=3)


def test_the_last_weights_can_be_kept_instead_of_the_best(fast, tmp_path):
    run = medseg.train(**fast | {"select": "last"})["run"]
    assert not (tmp_path / "run" / "best.pt").exists()
    summary = json.loads((tmp_path / "run" / "report" / "test" / "summary.json").read_text())
    assert (
        summary["checkpoint"]["file"] == "last.pt"
        and "no selection" in summary["checkpoint"]["selected_by"]
    )
    assert medseg.Predictor.load(run, accelerator="cpu")


def test_a_time_budget_ends_the_run_and_the_schedule(fast, tmp_path, monkeypatch):
    """By a clock of its own: each step takes 3/16 of a second, and nothing else takes time."""
    clock, step = [0.0], engine.step

    def ticking(*arguments):
        clock[0] += 3 / 16
        return step(*arguments)

    monkeypatch.setattr(engine, "step", ticking)
    monkeypatch.setattr(engine, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    medseg.train(**fast | {"epochs": 100_000, "time_budget": 3, "warmup_epochs": 0})
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert len(rows) == 6  # 16 steps, three per epoch
    assert rows[-1]["seconds"] == 3
    assert len(rows) < 1000 and rows[-1]["lr"] < 0.1 * rows[0]["lr"]
    assert "val_dice" in rows[-1]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"time budget of 3 s reached after epoch {len(rows)} of 100000" in log


def test_patience_ends_the_run(fast, tmp_path):
    medseg.train(**fast | {"epochs": 50, "lr": 1e-12, "warmup_epochs": 0, "patience": 3})
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert len(rows) < 50
    assert (
        f"no better validation dice for 3 validations: stopped after epoch {len(rows)} of 50"
        in (tmp_path / "run" / "log.txt").read_text()
    )


def test_validation_keeps_to_its_interval_and_never_misses_the_last_epoch(fast, tmp_path):
    medseg.train(**fast | {"epochs": 6, "val_interval": 4, "val_start": 3})
    assert [
        row["epoch"] for row in read_csv(tmp_path / "run" / "metrics.csv") if "val_dice" in row
    ] == [4, 6]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "unetpp", "auxiliary": True, "auxiliary_weights": (0.5, 0.3, 0.2)},
        {"loss": "0.5*focal+tversky+0.1*boundary", "class_weights": None},
        {"loss": "ohem", "class_weights": (1.0, 2.0), "accumulate": 2},
        {"resize": "letterbox"},
        {"resize": "native-crop", "size": (32, 48), "scale": (0.5, 2.0)},
        {"channels": 1, "optimizer": "rmsprop", "schedule": "step"},
        {"precision": "bf16"},
        {"batch_size": 64},
        {"augment": False, "hold_out": 0.2, "patience": 5},
    ],
    ids=lambda options: (
        next(iter(options.values()))
        if isinstance(next(iter(options.values())), str)
        else next(iter(options))
    ),
)
def test_every_kind_of_training_runs_and_evaluates(fast, options):
    result = medseg.train(**{k: v for k, v in (fast | options).items() if v is not None})
    assert 0 <= result["summaries"]["test"]["protocols"]["pooled-foreground"]["dice"] <= 1


def test_weights_of_another_run_start_a_new_one(fast, tmp_path):
    first = medseg.train(**fast)["run"]
    medseg.train(**fast | {"out": str(tmp_path / "second"), "init": first, "epochs": 1, "lr": 1e-9})
    for key, value in weights(first, "best.pt").items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(value, weights(tmp_path / "second")[key], atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="of another network"):
        medseg.train(**fast | {"out": str(tmp_path / "third"), "init": first, "base_channels": 8})


def test_a_loss_that_is_no_longer_a_number_stops_and_keeps_the_last_good_state(fast, tmp_path):
    medseg.train(**fast)
    good = weights(tmp_path / "run")
    with pytest.raises(
        UserError,
        match=r"became (nan|inf) in epoch \d+, step \d+ \(images .*frame.*last\.pt.*lower --lr",
    ):
        medseg.train(
            **fast
            | {
                "out": str(tmp_path / "nan"),
                "lr": 1e30,
                "epochs": 50,
                "optimizer": "sgd",
                "schedule": "constant",
                "warmup_epochs": 2,
            }
        )
    assert (
        all(torch.isfinite(v).all() for v in weights(tmp_path / "nan").values())
        if (tmp_path / "nan/last.pt").exists()
        else good
    )


def test_out_of_memory_says_what_to_lower(fast, monkeypatch):
    def starve(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(engine, "step", starve)
    with pytest.raises(
        UserError, match="out of memory with --batch-size 4 and --size 32x32: lower --batch-size"
    ):
        medseg.train(**fast)


def test_a_compiler_that_fails_is_named(fast, monkeypatch):
    def broken(graph, inputs):
        raise OSError("no C++ compiler")

    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile(self, backend=broken))
    with pytest.raises(
        UserError, match=r"--compile: PyTorch could not compile the network .*leave --compile out"
    ):
        medseg.train(**fast | {"compile": True})


def test_ctrl_c_saves_and_says_how_to_resume(fast, tmp_path):
    import signal
    import time

    flags = [
        word
        for key, value in (fast | {"epochs": 100_000}).items()
        if key not in ("tensorboard", "progress")
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]
    run = subprocess.Popen(
        [sys.executable, "-m", "medseg", "train", *flags, "--no-tensorboard"],
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < until:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert f"resume with: medseg train --resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    epoch = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["epoch"]
    medseg.train(resume=str(tmp_path / "run"), epochs=epoch + 1, progress=False)


def test_profile_names_the_slowest_part(fast, tmp_path, capsys):
    medseg.train(**fast | {"profile": True, "epochs": 4})
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "slowest part: " in text and "slowest operation: " in text and "augmentation" in text
    events = json.loads((tmp_path / "run" / "profile.json").read_text())["traceEvents"]
    assert sum(event["name"] == "medseg: backward" for event in events) == 6
    medseg.train(**fast | {"profile": True, "epochs": 1, "out": str(tmp_path / "short")})
    assert "--profile: needs 9 steps, there were 3" in (tmp_path / "short" / "log.txt").read_text()
