"""Evaluation where masks or predictions are coded another way than those of the training."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import pairs, scene, write

from medseg.cli import main

TINY = [
    "--model",
    "unet",
    "--base-channels",
    "8",
    "--size",
    "64",
    "--epochs",
    "1",
    "--batch-size",
    "4",
    "--workers",
    "1",
]
QUIET = ["--no-progress"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run trained on 0/255 masks, and its folder."""
    root = tmp_path_factory.mktemp("codings")
    pairs(root / "A255", 12)
    words = ["--data", str(root / "A255"), "--out", str(root / "run"), "--no-tensorboard", *QUIET]
    assert main(["train", *TINY, *words]) == 0
    return root / "run"


def evaluate(run, data, out, *words):
    """Exit code and summary."""
    command = ["evaluate", str(run), "--data", str(data), "--split-part", "all", *QUIET]
    code = main([*command, "--out", str(out), *words])
    file = Path(out) / "summary.json"
    return code, json.loads(file.read_text()) if file.exists() else None


def test_another_set_is_read_by_its_own_coding(run, tmp_path, capsys):
    pairs(tmp_path / "C255", 8, start=500)
    code, wanted = evaluate(run, tmp_path / "C255", tmp_path / "c")
    assert code == 0
    for value in (1, 38):
        data = pairs(tmp_path / f"B{value}", 8, lambda m, i, v=value: m * np.uint8(v), start=500)
        code, found = evaluate(run, data, tmp_path / f"b{value}")
        assert code == 0 and f"masks: 0/{value}" in capsys.readouterr().err
        assert found["protocols"] == wanted["protocols"]


def test_other_classes_are_refused_and_mapped(run, tmp_path, capsys):
    pairs(tmp_path / "C255", 8, start=500)
    _, wanted = evaluate(run, tmp_path / "C255", tmp_path / "c")
    data = pairs(tmp_path / "IDX", 8, lambda m, i: m * np.uint8(i % 2 + 1), start=500)
    assert evaluate(run, data, tmp_path / "x")[0] == 2
    assert "hold 3 classes" in (said := capsys.readouterr().err) and "--class-map 0=0 1=1" in said
    words = ["--class-map", "0=0", "1=1", "2=1"]
    code, found = evaluate(run, data, tmp_path / "mapped", *words)
    assert code == 0 and found["protocols"] == wanted["protocols"]
    (data / "dataset.yaml").write_text("classes: [rest, polyp, tool]\n")
    words = ["--class-map", "polyp=1", "tool=1"]
    code, found = evaluate(run, data, tmp_path / "named", *words)
    assert code == 0 and found["protocols"] == wanted["protocols"]
    assert evaluate(run, data, tmp_path / "y", "--class-map", "polip=1")[0] == 2
    assert "has no class polip" in capsys.readouterr().err


@pytest.fixture(scope="module")
def named_run(tmp_path_factory):
    """A run of three named classes, and its folder."""
    root = tmp_path_factory.mktemp("three")
    pairs(root / "I3", 12, lambda mask, index: mask * np.uint8(index % 2 + 1))
    (root / "I3" / "dataset.yaml").write_text("classes: [rest, polyp, tool]\n")
    words = ["--data", str(root / "I3"), "--out", str(root / "run"), "--no-tensorboard", *QUIET]
    assert main(["train", *TINY, *words]) == 0
    return root / "run"


def test_fewer_classes_than_the_run_knows_are_asked_about(named_run, tmp_path, capsys):
    data = pairs(tmp_path / "B01", 8, lambda mask, index: mask, start=500)
    assert evaluate(named_run, data, tmp_path / "a")[0] == 2
    said = capsys.readouterr().err
    assert "hold 2 classes" in said and "--class-map 0=0 1=1, or --classes 3" in said
    assert evaluate(named_run, data, tmp_path / "b", "--classes", "2")[0] == 2
    assert "--classes 2: the run knows 3 classes" in capsys.readouterr().err
    _, mapped = evaluate(named_run, data, tmp_path / "c", "--class-map", "0=0", "1=1")
    code, told = evaluate(named_run, data, tmp_path / "d", "--classes", "3")
    assert code == 0 and told["protocols"] == mapped["protocols"]
    (data / "dataset.yaml").write_text("classes: [rest, tool]\n")
    assert evaluate(named_run, data, tmp_path / "e")[0] == 0
    assert "by name: rest is class 0, tool is class 2" in capsys.readouterr().err
    (data / "dataset.yaml").write_text("classes: [rest, lesion]\n")
    assert evaluate(named_run, data, tmp_path / "f")[0] == 2
    assert "--class-map lesion=CLASS" in capsys.readouterr().err


def test_a_value_beyond_the_classes_is_refused_with_a_flag(named_run, tmp_path, capsys):
    data = pairs(tmp_path / "I4", 8, lambda m, i: m * np.uint8(i % 3 + 1), start=500)
    assert evaluate(named_run, data, tmp_path / "a", "--classes", "3")[0] == 2
    assert "--ignore-index 3" in capsys.readouterr().err
    assert evaluate(named_run, data, tmp_path / "b")[0] == 2
    assert "--class-map 0=0 1=1 2=2 3=2" in capsys.readouterr().err


def test_calibrate_takes_the_same_options(run, capsys):
    assert main(["calibrate", str(run), "--mask-kind", "binary-255", *QUIET]) == 0
    assert main(["calibrate", str(run), "--mask-kind", "binary-01", *QUIET]) == 2
    assert "all would be background or ignored" in capsys.readouterr().err


def predictions(folder, draw, suffix=".png", count=6):
    """References 0/255 in folder/ref, and predictions drawn from the same masks."""
    for index in range(count):
        mask = scene(index)[1]
        write(folder / "ref" / f"s{index:02d}.png", mask * 255)
        made = draw(mask, index)
        path = folder / "pred" / f"s{index:02d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(made, Image.Image):
            made.save(path)
        elif suffix == ".npy":
            np.save(path, made)
        else:
            write(path, made)
    return ["evaluate", str(folder / "pred"), "--references", str(folder / "ref"), *QUIET]


def palette(mask):
    picture = Image.fromarray(mask, "P")
    picture.putpalette([0, 0, 0, 200, 30, 30] + [0] * 762)
    return picture


def in_alpha(mask):
    white = np.full((*mask.shape, 3), 255, np.uint8)
    return Image.fromarray(np.dstack([white, mask * 255]), "RGBA")


RIGHT = {
    "red": (lambda m, i: m[..., None] * np.array([255, 0, 0], np.uint8), ".png"),
    "green": (lambda m, i: m[..., None] * np.array([0, 255, 0], np.uint8), ".png"),
    "blue": (lambda m, i: m[..., None] * np.array([0, 0, 255], np.uint8), ".png"),
    "palette": (lambda m, i: palette(m), ".png"),
    "alpha": (lambda m, i: in_alpha(m), ".png"),
    "0/1": (lambda m, i: m, ".png"),
    "int64": (lambda m, i: m.astype(np.int64), ".npy"),
    "bool": (lambda m, i: m > 0, ".npy"),
    "percent": (lambda m, i: m * np.float32(60.5) + 20.25, ".npy"),
    "16 bits": (lambda m, i: m * np.uint16(40000) + np.uint16(99 + i), ".png"),
    "8 bits": (lambda m, i: m * np.uint8(140) + np.uint8(40 + i), ".png"),
    "percent, one of 0 and 100": (
        lambda m, i: m * np.float32(100 if i == 2 else 60.5) + np.float32(0 if i == 2 else 20.25),
        ".npy",
    ),
    "rounding": (lambda m, i: m * np.float32(1.0000001), ".npy"),
    "below": (lambda m, i: m * np.float32(1) - np.float32(5e-5), ".npy"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_predictions_of_any_coding(tmp_path, name):
    draw, suffix = RIGHT[name]
    command = predictions(tmp_path, draw, suffix)
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["protocols"]["per-image-foreground"]["dice"] == 1


def one_void(mask, index):
    out = mask.copy()
    out[0, 0] = 255
    return out


def in_two_colours(mask, index):
    return mask[..., None] * np.array([255 * (index % 2), 255 * (1 - index % 2), 0], np.uint8)


WRONG = {
    "two colours": (in_two_colours, ".png", "or draw the class that is evaluated, and no other"),
    "percent and 0/1": (
        lambda m, i: m * np.float32(1 if i == 2 else 60.5),
        ".npy",
        "holds 0 and 1 only, other predictions percent",
    ),
    "kinds": (lambda m, i: m * np.uint8(i % 2 + 1), ".png", "neither a mask of two values"),
    "void": (one_void, ".png", "neither a mask of two values"),
    "black": (lambda m, i: m * 0, ".png", "no pixel of any of 6 predictions"),
    "white": (lambda m, i: m * 0 + 255, ".png", "every pixel of each of 6 predictions"),
    "transposed": (lambda m, i: np.ascontiguousarray(m.T * 255), ".png", "is it transposed"),
    "logits": (lambda m, i: m * np.float32(9) - 4, ".npy", "expected probabilities from 0 to 1"),
    "NaN": (lambda m, i: m * np.float32("nan"), ".npy", "expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_predictions_that_are_neither_mask_nor_map(tmp_path, capsys, name):
    draw, suffix, said = WRONG[name]
    command = predictions(tmp_path, draw, suffix)
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error and "pred" in error
