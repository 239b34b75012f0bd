"""Wrong use is one line that says what was given, what was expected and what to do; exit code 2, no
traceback.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import FAST, scene, write_part
from medseg.cli import main


@pytest.fixture
def refused(capsys):
    """Run the command and return its one line."""

    def run(*argv) -> str:
        code = main([str(word) for word in argv])
        errors = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("medseg: ")
        ]
        assert code == 2, "not refused"
        assert len(errors) == 1
        return errors[0]

    return run


def flags(**options):
    words = []
    for key, value in (FAST | options).items():
        name = key.replace("_", "-")
        words += (
            [f"--{'' if value else 'no-'}{name}"]
            if isinstance(value, bool)
            else [f"--{name}", str(value)]
        )
    return words


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs without --out end here, not in the working copy."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def flat(tmp_path):
    write_part(tmp_path / "flat", 12)
    return tmp_path / "flat"


@pytest.fixture
def lists(tmp_path):
    """frame000 to frame007 for training, the others for validation."""
    (tmp_path / "lists").mkdir()
    for part, numbers in (("train", range(8)), ("validation", range(8, 12))):
        (tmp_path / "lists" / f"{part}.txt").write_text("\n".join(f"frame{i:03}" for i in numbers))
    return tmp_path / "lists"


@pytest.fixture
def trained(fast):
    import medseg

    return medseg.train(**fast | {"epochs": 1})["run"]


def test_missing_folder(refused, tmp_path):
    assert "nowhere" in refused("train", *flags(data=tmp_path / "nowhere"))


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("train", *flags(data=tmp_path / "empty"))


def test_empty_images_folder(refused, tmp_path):
    (tmp_path / "e" / "images").mkdir(parents=True)
    (tmp_path / "e" / "masks").mkdir()
    assert "image" in refused("train", *flags(data=tmp_path / "e"))


def test_image_without_mask(refused, flat):
    (flat / "masks" / "frame004.png").unlink()
    assert "frame004" in refused("train", *flags(data=flat))


def test_two_masks_for_one_image(refused, flat):
    cv2.imwrite(str(flat / "masks" / "frame004_mask.png"), scene(4)[1])
    assert "frame004" in refused("train", *flags(data=flat))


def test_size_mismatch_of_image_and_mask(refused, flat):
    cv2.imwrite(str(flat / "masks" / "frame004.png"), np.zeros((20, 20), np.uint8))
    assert "frame004" in refused("train", *flags(data=flat))


def test_truncated_jpeg(refused, flat, lists):
    path = flat / "images" / "frame004.jpg"
    cv2.imwrite(str(path), scene(4)[0])
    path.write_bytes(path.read_bytes()[:-300])
    (flat / "images" / "frame004.png").unlink()
    assert "frame004.jpg" in refused("train", *flags(data=flat, split=lists))


@pytest.mark.parametrize(
    "content",
    [b"", b"this is a text file, not a picture\n" * 20],
    ids=["zero bytes", "text named png"],
)
def test_a_file_that_is_no_image(refused, flat, lists, content):
    (flat / "images" / "frame004.png").write_bytes(content)
    assert "frame004.png" in refused("train", *flags(data=flat, split=lists))


def test_mask_with_five_unexpected_values(refused, flat, lists):
    image, _ = scene(4)
    mask = np.repeat(np.array([0, 50, 100, 150, 200], np.uint8), 20)[None].repeat(image.shape[0], 0)
    cv2.imwrite(
        str(flat / "masks" / "frame004.png"),
        cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST),
    )
    line = refused("train", *flags(data=flat, split=lists))
    assert "frame004" in line and "150" in line


def test_all_masks_empty(refused, flat):
    for path in (flat / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), 0)))
    assert "foreground" in refused("train", *flags(data=flat))


def test_class_index_beyond_k(refused, flat, lists):
    for i, path in enumerate(sorted((flat / "masks").iterdir())):
        mask = cv2.imread(str(path), 0) // 255
        cv2.imwrite(str(path), mask * (7 if i == 4 else 1 + i % 2))
    line = refused("train", *flags(data=flat, classes=3, split=lists))
    assert "frame004" in line and "7" in line


def test_one_image_only(refused, tmp_path):
    write_part(tmp_path / "one", 1)
    assert "1" in refused("train", *flags(data=tmp_path / "one"))


def test_a_batch_larger_than_the_data_set_is_cut_and_said(dataset, tmp_path, capsys):
    assert main(["train", *flags(data=dataset, batch_size=64, epochs=1, out=tmp_path / "run")]) == 0
    assert (
        "--batch-size 64 is more than the 12 training images: using 12" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "unett"}, "did you mean unet?"),
        ({"model": "smp", "base_channels": 8}, "--base-channels"),
        ({"encoder": "resnet18"}, "belongs to --model smp"),
        ({"loss": "ce+dise"}, "did you mean dice?"),
        ({"loss": "0*ce"}, "0"),
        ({"lr": -1}, "--lr: got -1.0, expected a number above 0"),
        ({"epochs": "many"}, "--epochs: got 'many'"),
        (
            {
                "scale": 2,
            },
            "--scale",
        ),
        ({"class_weights": 1}, "--class-weights 1.0: expected one finite number"),
        ({"auxiliary": True}, "no auxiliary heads; those with: unetpp"),
        ({"val_start": 9}, "--val-start 9"),
        ({"split": "random-80-10"}, "random-80-10"),
        (
            {"workers": 100_000},
            "--workers: got 100000, expected a whole number of at least 0 of at most 256",
        ),
        ({"accelerator": "tpu"}, "--accelerator: got 'tpu'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options(refused, flat, options, words):
    assert words in refused("train", *flags(data=flat, **options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "resnet1"}, "resnet1"),
        ({"decoder": "unett"}, "did you mean unet"),
        ({"encoder_weights": "/nowhere/weights.pth"}, "/nowhere/weights.pth"),
    ],
    ids=["encoder", "decoder", "weights"],
)
def test_wrong_smp_options(refused, flat, options, words):
    rest = flags_without("base_channels")
    line = refused(
        "train",
        *to_words(
            rest
            | {"model": "smp", "encoder": "resnet18", "encoder_weights": "none", "data": flat}
            | options
        ),
    )
    assert words in line


def flags_without(name):
    return {key: value for key, value in FAST.items() if key != name}


def to_words(options):
    return [
        word
        for key, value in options.items()
        for word in (
            [f"--{'' if value else 'no-'}{key.replace('_', '-')}"]
            if isinstance(value, bool)
            else [f"--{key.replace('_', '-')}", str(value)]
        )
    ]


def test_unknown_flag_verb_and_yaml_key(refused, flat, tmp_path):
    assert "did you mean --epochs?" in refused("train", "--epoch", "3", "--data", flat)
    assert "did you mean train?" in refused("trian")
    (tmp_path / "c.yaml").write_text("epoch: 3\n")
    line = refused("train", "--data", flat, "--config", tmp_path / "c.yaml")
    assert "did you mean epochs?" in line and "c.yaml" in line


def test_checkpoint_of_another_network(refused, dataset, trained):
    assert "of another network" in refused(
        "train", *flags(data=dataset, base_channels=8, init=trained)
    )


def test_checkpoint_truncated(refused, trained):
    path = Path(trained) / "best.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "best.pt: is damaged or not a checkpoint" in refused("evaluate", trained)


@pytest.mark.parametrize(
    "content",
    [b"", b"alone-15 0 ['validation: dice']\n", b"\x80\x02.", b"\x89PNG\r\n", b"(dp0\n", b"hello"],
)
def test_a_file_that_is_no_checkpoint(refused, trained, content):
    path = Path(trained) / "best.pt"
    path.write_bytes(content)
    assert "best.pt: " in refused("evaluate", trained)


def test_checkpoint_that_is_a_malicious_pickle_does_not_run(refused, trained, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    import torch

    torch.save({"network": Evil()}, f"{trained}/best.pt")
    assert "was not loaded" in refused("evaluate", trained)
    with open(f"{trained}/best.pt", "wb") as file:
        pickle.dump(Evil(), file)
    refused("predict", trained, trained, "--out", tmp_path / "p")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_kind(refused, trained):
    import torch

    torch.save({"state_dict": {}}, f"{trained}/best.pt")
    assert "not a medseg checkpoint" in refused("evaluate", trained)


def test_output_folder_that_cannot_be_made(refused, flat, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "cannot be made" in refused("train", *flags(data=flat, out=tmp_path / "file" / "run"))


def test_evaluate_names_the_parts_there_are(refused, flat, lists, tmp_path):
    assert main(["train", *flags(data=flat, epochs=1, split=lists, out=tmp_path / "run")]) == 0
    assert "has no such part; it has train (8), validation (4)" in refused(
        "evaluate", tmp_path / "run"
    )


def test_results_are_not_overwritten_unasked(refused, trained, tmp_path):
    assert main(["evaluate", trained, "--out", str(tmp_path / "e"), "--accelerator", "cpu"]) == 0
    assert "--overwrite" in refused("evaluate", trained, "--out", tmp_path / "e")
    assert main(["evaluate", trained, "--out", str(tmp_path / "e"), "--overwrite"]) == 0


def test_a_second_process_cannot_use_a_run(refused, trained):
    from medseg.files import lock

    with lock(Path(trained) / ".lock", "mine"):
        assert "is in use by another process" in refused(
            "train", "--resume", trained, "--epochs", "2"
        )


def test_no_traceback_from_the_installed_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "medseg", "train", "--data", str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""
    assert done.stderr.count("\n") == 1
