"""`medseg evaluate --protocols all` on runs and on folders of predictions; `medseg calibrate`."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import tifffile
import torch

from medseg import Predictor
from medseg.cli import main
from medseg.evaluation.measure import measure_image
from medseg.evaluation.published import PUBLISHED
from medseg.files import read_csv
from medseg.runs import find_checkpoint

NAMES = ["per-image-foreground", "pooled-foreground", "macro-with-background", *PUBLISHED]
QUIET = ["--accelerator", "cpu", "--precision", "fp32", "--no-progress"]


@pytest.fixture
def run(fast):
    """A trained run, its folder."""
    from medseg import train

    train(**fast)
    return fast["out"]


def results(folder):
    return json.loads((folder / "summary.json").read_text()), read_csv(folder / "per_image.csv")


def test_a_run_and_its_own_probability_maps_agree(separated, dataset, tmp_path):
    run = separated
    assert main(["evaluate", run, "--protocols", "all", "--out", str(tmp_path / "a"), *QUIET]) == 0
    assert (
        main(
            [
                "predict",
                run,
                str(dataset / "test" / "images"),
                "--out",
                str(tmp_path / "p"),
                "--save",
                "mask,probability",
                *QUIET,
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "p"),
                "--references",
                str(dataset / "test" / "masks"),
                "--protocols",
                "all",
                "--out",
                str(tmp_path / "b"),
                "--no-progress",
            ]
        )
        == 0
    )
    (ours, rows), (folder, folder_rows) = results(tmp_path / "a"), results(tmp_path / "b")
    assert list(ours["protocols"]) == list(folder["protocols"]) == NAMES
    assert [row["name"] for row in rows] == [row["name"] for row in folder_rows]
    for name in NAMES:
        for key, value in ours["protocols"][name].items():
            # rounded to 16 bits, some pixels move one of 256 levels, or, interpolated to 352x352,
            # to the other side of one half
            soft = name in ("pranet", "uacanet", "polyp-pvt-soft")
            near = 5e-3 if soft else 1e-3 if name.endswith("352") else 1e-9
            assert folder["protocols"][name][key] == pytest.approx(value, abs=near, nan_ok=True), (
                name,
                key,
            )
    assert (
        folder["lesions"] == ours["lesions"]
        and folder["distances"].keys() == ours["distances"].keys()
    )
    for key, value in ours["distances"].items():  # the last digits depend on the order of summation
        assert folder["distances"][key] == (
            pytest.approx(value, rel=1e-7) if isinstance(value, float) else value
        ), key
    assert folder["calibration"]["all"]["ece"] == pytest.approx(
        ours["calibration"]["all"]["ece"], abs=1e-4
    )
    page = (tmp_path / "a" / "report.html").read_text()
    for title in ("Distances", "Lesions", "Calibration", "By lesion size", "Left tail"):
        assert f"<h2>{title}</h2>" in page
    assert "<script" not in page and not re.search(r'(src|href)="(?!data:)', page)
    assert all(name in page for name in NAMES)


def write(folder, name, values):
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / name), values)


def test_masks_of_another_tool(dataset, tmp_path, capsys):
    """0 and 1, another suffix, another size for one of them: numbers as of the masks themselves."""
    for i, file in enumerate(sorted((dataset / "test" / "masks").iterdir())):
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) // 255
        write(
            tmp_path / "theirs",
            f"{file.stem}_pred.png",
            cv2.resize(mask, None, fx=2, fy=2, interpolation=0) if i == 0 else mask,
        )
    out = tmp_path / "out"
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "theirs"),
                "--data",
                str(dataset),
                "--out",
                str(out),
                "--json",
                "--no-progress",
            ]
        )
        == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert summary["protocols"]["per-image-foreground"]["dice"] > 0.995 and summary["n_images"] == 5
    assert any("1 predictions had another size" in note for note in summary["notes"])
    assert list(summary["protocols"]) == NAMES[:3] and "distances" not in summary


@pytest.mark.parametrize("form", ["tif", "npy"])
def test_maps_of_floats_are_taken_as_they_are(form, dataset, tmp_path, capfd):
    """No rounding to 8 bits, in which both values would be 128."""
    for file in sorted((dataset / "test" / "masks").iterdir()):
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 127
        values = np.where(mask, 0.5015, 0.5005).astype(np.float32)
        (tmp_path / "floats").mkdir(exist_ok=True)
        if form == "npy":
            np.save(tmp_path / "floats" / f"{file.stem}.npy", values)
        else:
            tifffile.imwrite(tmp_path / "floats" / f"{file.stem}.tif", values)
    words = [
        "evaluate",
        str(tmp_path / "floats"),
        "--data",
        str(dataset),
        "--json",
        "--no-progress",
        "--threshold",
        ".501",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    found = capfd.readouterr()
    assert (
        json.loads(found.out)["protocols"]["per-image-foreground"]["dice"] == 1
        and "OpenCV" not in found.err
    )
    np.save(tmp_path / "floats" / f"{file.stem}.npy", values + 1)
    (tmp_path / "floats" / f"{file.stem}.tif").unlink(missing_ok=True)
    assert main([*words, "--out", str(tmp_path / "again")]) == 2
    assert "expected probabilities from 0 to 1" in capfd.readouterr().err


def test_faint_maps_are_no_masks(dataset, tmp_path, capsys):
    """16-bit values up to 20,000 of 65,535, of a network sure of nothing, are probabilities."""
    for file in (dataset / "test" / "masks").iterdir():
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        faint = cv2.GaussianBlur(mask, (0, 0), 3).astype(np.uint16) * 78
        write(tmp_path / "faint", file.name, faint + 100)
    words = ["evaluate", str(tmp_path / "faint"), "--data", str(dataset), "--no-progress"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "no pixel of any" in capsys.readouterr().err
    assert main([*words, "--accept-empty", "--out", str(tmp_path / "out")]) == 0
    assert results(tmp_path / "out")[0]["protocols"]["per-image-foreground"]["dice"] == 0


def test_masks_without_foreground_are_called_so(dataset, tmp_path, capsys):
    for file in (dataset / "test" / "masks").iterdir():
        black = 0 * cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        write(tmp_path / "black", file.name, black)
    words = ["evaluate", str(tmp_path / "black"), "--data", str(dataset), "--no-progress"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "predictions: masks of 0 only in" in capsys.readouterr().err


def test_groups_and_stamps_of_folders(dataset, tmp_path, capsys):
    """groups.csv beside the references is used; of a part of a split, its stamp is shown."""
    masks = sorted((dataset / "test" / "masks").iterdir())
    lines = "".join(f"{file.stem},g{i // 2}\n" for i, file in enumerate(masks))
    (dataset / "test" / "groups.csv").write_text("name,group\n" + lines)
    theirs = ["evaluate", str(dataset / "test" / "masks"), "--no-progress"]
    assert (
        main(
            [*theirs, "--references", str(dataset / "test" / "masks"), "--out", str(tmp_path / "a")]
        )
        == 0
    )
    summary, _ = results(tmp_path / "a")
    assert summary["intervals"]["n_groups"] == 3 and summary["stamp"]["verdict"] == "unknown"
    train = [path.stem for path in (dataset / "train" / "masks").iterdir()]
    (dataset / "train" / "groups.csv").write_text(
        "name,group\n" + "".join(f"{name},g0\n" for name in train)
    )
    capsys.readouterr()
    assert main([*theirs, "--data", str(dataset), "--out", str(tmp_path / "b")]) == 0
    summary, _ = results(tmp_path / "b")
    assert (
        summary["stamp"]["verdict"] == "LEAKY"
        and "LEAKY: 2 of 5 test images" in capsys.readouterr().out
    )
    assert "LEAKY" in (tmp_path / "b" / "report.html").read_text()


def test_what_does_not_fit_is_said(dataset, tmp_path, capsys):
    masks = sorted((dataset / "test" / "masks").iterdir())
    for file in masks[1:]:
        write(tmp_path / "some", file.name, np.zeros((9, 9), np.uint8))
    cases = {
        ("--data", str(dataset)): f"1 of 5 references have no prediction, such as {masks[0].stem}",
        (): "--references DIR",
        ("--references", str(tmp_path / "no")): "no such folder",
        ("--references", str(dataset / "test" / "masks"), "--data", "x"): "either this or --data",
    }
    for words, message in cases.items():
        assert main(["evaluate", str(tmp_path / "some"), *words, "--out", str(tmp_path / "o")]) == 2
        assert message in capsys.readouterr().err
    write(tmp_path / "some", f"{masks[1].stem}.jpg", np.zeros((9, 9), np.uint8))
    assert main(["evaluate", str(tmp_path / "some"), "--data", str(dataset)]) == 2
    assert "has the same name" in capsys.readouterr().err
    references = ["--references", str(dataset / "test" / "masks")]
    assert main(["evaluate", str(tmp_path / "gone"), *references]) == 2
    assert "no such run folder" in capsys.readouterr().err


def test_empty_and_full_predictions_are_counted(dataset, tmp_path):
    for file in (dataset / "test" / "masks").iterdir():
        write(
            tmp_path / "none", file.name, np.zeros_like(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
        )
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "none"),
                "--data",
                str(dataset),
                "--accept-empty",
                "--protocols",
                "all",
                "--out",
                str(tmp_path / "out"),
                "--no-progress",
            ]
        )
        == 0
    )
    summary, rows = results(tmp_path / "out")
    assert summary["distances"]["missed"] == 5 and summary["distances"]["hd95_detected"] is None
    assert (
        summary["distances"]["hd95"]
        == pytest.approx(np.mean([row["hd95"] for row in rows]), rel=1e-4)
        and rows[0]["hd95"] > 80
    )
    assert summary["lesions"]["recall"] == 0 and summary["lesions"]["predicted"] == 0
    assert 0 < summary["protocols"]["pranet"]["dice"] < 0.01  # threshold 0 takes the whole image


def test_a_calibrated_run(run, dataset, tmp_path, capsys):
    image = next((dataset / "test" / "images").iterdir())
    before = Predictor.load(run, accelerator="cpu")
    assert before.temperature == 1
    assert main(["calibrate", run, "--json", *QUIET]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((find_checkpoint(run).parent / "calibration.json").read_text())
    assert (
        result["temperature"] != 1
        and result["after"]["nll"] < result["before"]["nll"]
        and result["images"] == 4
    )
    after = Predictor.load(run, accelerator="cpu")
    assert after.temperature == result["temperature"]
    assert np.array_equal(after(image), before(image))
    assert torch.allclose(
        torch.from_numpy(after.probability(image)).logit(),
        torch.from_numpy(before.probability(image)).logit() / after.temperature,
        atol=1e-3,
    )
    assert (
        main(
            [
                "evaluate",
                run,
                "--split-part",
                "validation",
                "--protocols",
                "all",
                "--out",
                str(tmp_path / "c"),
                *QUIET,
            ]
        )
        == 0
    )
    summary, _ = results(tmp_path / "c")
    assert summary["temperature"] == result["temperature"]
    assert summary["calibration"]["all"]["ece"] == pytest.approx(
        result["after"]["ece"], abs=1e-3
    )  # sizes weigh alike here


def test_ignored_pixels_are_in_no_measure():
    truth = np.zeros((60, 60), np.uint8)
    truth[20:40, 20:40] = 1
    ignored = truth.copy()
    ignored[:10], ignored[50:] = 255, 255
    prediction, probability = truth.copy(), truth.astype(np.float32) * 0.9
    prediction[2:8, 2:8], probability[2:8, 2:8] = 1, 0.9
    whole, part = (
        measure_image(probability, prediction, truth),
        measure_image(probability, prediction, ignored),
    )
    assert whole["distances"]["hd95"] > 10 and part["distances"]["hd95"] == 0
    assert whole["lesions"]["predicted"] == 2 and part["lesions"]["predicted"] == 1
    assert (
        whole["published"]["fcbformer-352"]["dice"]
        < 0.97
        < part["published"]["fcbformer-352"]["dice"]
    )
    assert part["bins"][:, 0].sum() == (ignored != 255).sum() and part["bins"][13, 0] == 400
    nothing = np.where(ignored == 255, ignored, 0)
    assert part["empty"] == (False, False) and measure_image(probability, prediction, nothing)[
        "empty"
    ] == (False, True)


def test_real_masks_moved_by_four_pixels(real, tmp_path):
    """Every outline pixel has one of the other mask within the shift.

    The masks are JPEG files, the images of several sizes.
    """
    files = sorted((real / "Kvasir-SEG" / "masks").iterdir())[:6]
    for file in files:
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        write(tmp_path / "truth", f"{file.stem}.png", mask)
        write(
            tmp_path / "moved",
            f"{file.stem}.png",
            np.roll((mask > 127).astype(np.uint8) * 255, 4, 1),
        )
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "moved"),
                "--references",
                str(tmp_path / "truth"),
                "--protocols",
                "all",
                "--tolerance",
                "4",
                "--out",
                str(tmp_path / "out"),
                "--no-progress",
            ]
        )
        == 0
    )
    summary, rows = results(tmp_path / "out")
    for row in (
        row for row in rows if row["hd95"] > 4
    ):  # only what was rolled over the edge is further off
        assert np.roll(cv2.imread(str(tmp_path / "truth" / f"{row['name']}.png"), 0) > 127, 4, 1)[
            :, :4
        ].any()
    assert any(2 < row["hd95"] <= 4 for row in rows)
    assert 0.9 < summary["protocols"]["per-image-foreground"]["dice"] < 0.995
    dice = {name: values["dice"] for name, values in summary["protocols"].items()}
    assert dice["macro-with-background"] > dice["pooled-foreground"]
    assert (
        dice["pranet"] == dice["uacanet"] == pytest.approx(dice["per-image-foreground"], abs=0.005)
    )  # sharp: 255 of 256 alike
