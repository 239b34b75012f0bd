"""The commands as a user types them."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

import medseg
from conftest import scene
from medseg.cli import main


@pytest.fixture
def run(fast):
    return medseg.train(**fast | {"epochs": 1})["run"]


def test_json_prints_one_document_and_nothing_else(run, capsys):
    assert main(["evaluate", run, "--json", "--accelerator", "cpu"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert {"data", "split", "part", "n_images", "protocols"} <= summary.keys()
    assert main(["models", "--json"]) == 0
    assert {"unet", "ducknet"} <= {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert main(["data", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["licence"] and row["homepage"] for row in rows if row["name"] != "synthetic")


def test_predict_takes_any_mix_of_sizes_and_formats(run, tmp_path, capsys):
    source = tmp_path / "mixed"
    (source / "sub").mkdir(parents=True)
    sizes = {
        "a.jpg": (40, 60),
        "a.png": (61, 33),
        "sub/a.png": (32, 32),
        "b.bmp": (90, 20),
        "c.tif": (33, 47),
        "d.webp": (50, 50),
    }
    for name, size in sizes.items():
        cv2.imwrite(str(source / name), cv2.resize(scene(1)[0], size[::-1]))
    cv2.imwrite(str(source / "grey.png"), cv2.resize(scene(2)[1], (44, 55)))
    (source / "broken.png").write_bytes(b"no image")
    (source / "notes.txt").write_text("not an image, and not tried")
    out = tmp_path / "out"
    code = main(
        [
            "predict",
            run,
            str(source),
            "--out",
            str(out),
            "--save",
            "mask,overlay,probability",
            "--batch-size",
            "3",
        ]
    )
    assert code == 1  # one file could not be read
    assert "broken.png" in capsys.readouterr().err
    written = {
        str(p.relative_to(out / "masks")): cv2.imread(str(p), cv2.IMREAD_UNCHANGED).shape
        for p in (out / "masks").rglob("*.png")
    }
    assert written == {
        "a_jpg.png": (40, 60),
        "a_png.png": (61, 33),
        "sub/a.png": (32, 32),
        "b.png": (90, 20),
        "c.png": (33, 47),
        "d.png": (50, 50),
        "grey.png": (55, 44),
    }
    for name in written:
        mask = cv2.imread(str(out / "masks" / name), cv2.IMREAD_UNCHANGED)
        share = cv2.imread(str(out / "probabilities" / name), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 255}
        assert share.dtype == np.uint16
        far = np.abs(share - 32767.5) > 1  # from the threshold, in steps of 16 bits
        np.testing.assert_array_equal((mask > 0)[far], (share > 32767)[far])
        assert cv2.imread(str(out / "overlays" / name)).shape[:2] == mask.shape


def test_predict_never_overwrites_unasked(separated, dataset, tmp_path, capsys):
    run = separated  # says at most 0.97
    images = str(dataset / "test" / "images")
    assert main(["predict", run, images, "--out", str(tmp_path / "p")]) == 0
    first = (tmp_path / "p" / "masks" / "frame200.png").read_bytes()
    assert main(["predict", run, images, "--out", str(tmp_path / "p")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (
        main(
            [
                "predict",
                run,
                images,
                "--out",
                str(tmp_path / "p"),
                "--overwrite",
                "--threshold",
                "0.99",
            ]
        )
        == 0
    )
    assert (tmp_path / "p" / "masks" / "frame200.png").read_bytes() != first


def test_images_of_one_name_from_two_folders_do_not_collide(run, tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), scene(1)[0])
    assert (
        main(
            ["predict", run, str(tmp_path / "x"), str(tmp_path / "y"), "--out", str(tmp_path / "o")]
        )
        == 0
    )
    assert len(list((tmp_path / "o" / "masks").iterdir())) == 2


def test_python_api_matches_the_command(separated, dataset, tmp_path):
    run = separated
    result = medseg.predict(
        run, str(dataset / "test" / "images"), tmp_path / "p", accelerator="cpu", save="mask"
    )
    assert result["written"] == 5 and not result["failed"]
    predictor = medseg.Predictor.load(run, accelerator="cpu")
    for path in (dataset / "test" / "images").iterdir():
        mask = cv2.imread(str(tmp_path / "p" / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(predictor(path) * 255, mask)
    rgb = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(predictor(np.ascontiguousarray(rgb)), predictor(path))
    with pytest.raises(medseg.errors.UserError, match="expected uint8"):
        predictor(rgb.astype(float))


def test_synthesize_train_evaluate_in_three_commands(tmp_path):
    data = tmp_path / "scenes"
    assert (
        main(["data", "synthesize", str(data), "--images", "24", "--size", "64", "--no-progress"])
        == 0
    )
    assert (
        main(
            [
                "train",
                "--data",
                str(data),
                "--model",
                "resunet",
                "--base-channels",
                "4",
                "--size",
                "32",
                "--epochs",
                "1",
                "--batch-size",
                "4",
                "--out",
                str(tmp_path / "run"),
                "--no-progress",
            ]
        )
        == 0
    )
    assert main(["evaluate", str(tmp_path / "run"), "--split-part", "all"]) == 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert medseg.__version__ in capsys.readouterr().out
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["data", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(
        verb in text
        for verb in ("train", "evaluate", "predict", "models", "synthesize", "prepare", "list")
    )


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m medseg data list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
