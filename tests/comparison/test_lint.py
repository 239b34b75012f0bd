"""The arithmetic of published tables: the foreground Dice of the original toolkit's numbers, and
pairs that cannot be.
"""

import csv

import numpy as np
import pytest

from medseg.cli import main
from medseg.comparison.lint import lint, verdict
from medseg.errors import UserError

# Dice and mIoU on test as the original toolkit's README prints them; Kvasir-SEG, CVC-ClinicDB,
# CVC-ColonDB, ETIS
PUBLISHED = {
    "DUCKNet-17": (".9515/.9094", ".9434/.8966", ".9357/.8847", ".9013/.8323"),
    "DUCKNet-34": (".9573/.9198", ".9451/.8995", ".9322/.8790", ".8884/.8142"),
    "ResUNet-32": (".9113/.8426", ".9021/.8319", ".7551/.6600", ".6524/.5748"),
    "ResUNet++": (".9369/.8843", ".9424/.8949", ".8979/.8273", ".8352/.7460"),
    "UNet-32": (".9444/.8972", ".9424/.8949", ".8966/.8255", ".8218/.7296"),
    "UNet++": (".9551/.9157", ".9520/.9112", ".9141/.8510", ".8730/.7929"),
    "smp-UNet, scratch": (".9556/.9166", ".9503/.9082", ".9498/.9078", ".8997/.8300"),
    "smp-UNet, ImageNet": (".9543/.9144", ".9566/.9190", ".9658/.9356", ".9706/.9442"),
}
# what they are as foreground Dice, worked out by hand from the same pairs
FOREGROUND = {
    "DUCKNet-17": (0.918, 0.897, 0.878, 0.813),
    "DUCKNet-34": (0.926, 0.899, 0.872, 0.787),
    "ResUNet-32": (0.852, 0.820, 0.532, 0.329),
    "ResUNet++": (0.894, 0.895, 0.806, 0.685),
    "UNet-32": (0.906, 0.895, 0.804, 0.661),
    "UNet++": (0.925, 0.912, 0.838, 0.759),
    "smp-UNet, scratch": (0.925, 0.909, 0.906, 0.809),
    "smp-UNet, ImageNet": (0.922, 0.921, 0.935, 0.944),
}
SETS = ("kvasir", "clinicdb", "colondb", "etis")


def table(tmp_path, header, *lines):
    path = tmp_path / "table.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def test_the_foreground_table_of_the_original_readme(tmp_path):
    header = ["model", *(f"{name} {metric}" for name in SETS for metric in ("Dice", "mIoU"))]
    lines = [
        [model, *(number for pair in pairs for number in pair.split("/"))]
        for model, pairs in PUBLISHED.items()
    ]
    found = lint(table(tmp_path, header, *lines))
    assert found["impossible"] == found["skipped"] == 0 and len(found["rows"]) == 32
    expected = {
        f"{model} {name}": dice
        for model, values in FOREGROUND.items()
        for name, dice in zip(SETS, values, strict=True)
    }
    for row in found["rows"]:
        assert row["foreground"] == pytest.approx(expected[row["row"]], abs=0.0015), row["row"]


def test_the_impossible_pair_and_the_pooled_ones(tmp_path, capsys):
    """SAM-Mamba's on ClinicDB cannot be; DUCK-Net's own four lie on the curve: pooled pixels."""
    path = table(
        tmp_path,
        ["Model", "mDice", "mIoU"],
        ["SAM-Mamba", "0.942", "0.887"],
        ["DUCK-Net Kvasir", "0.9502", "0.9051"],
        ["DUCK-Net ClinicDB", "0.9478", "0.9009"],
        ["DUCK-Net ColonDB", "0.9353", "0.8785"],
        ["DUCK-Net ETIS", "0.9354", "0.8788"],
        ["PraNet", "89.8", "84.0"],
    )
    assert main(["lint", str(path)]) == 1
    assert "SAM-Mamba" in capsys.readouterr().out
    found = lint(path)["rows"]
    assert [row["verdict"] for row in found] == ["impossible", *["on the curve"] * 4, "mean"]
    assert found[-1]["dice"] == 0.898 and found[0]["lowest_iou"] == pytest.approx(0.8904, abs=5e-5)


def test_verdicts_hold_for_every_mean_of_pairs():
    """Means of Dice and of its IoU over random sets, printed with 2 to 4 digits, are never called
    impossible.
    """
    rng = np.random.default_rng(0)
    for digits in (2, 3, 4):
        half = 0.5 * 10**-digits
        for count in (1, 2, 50):
            for _ in range(300):
                dice = rng.beta(rng.uniform(0.3, 9), rng.uniform(0.3, 2), count)
                printed = np.round([dice.mean(), (dice / (2 - dice)).mean()], digits)
                found = verdict(*map(float, printed), (half + 1e-12, half + 1e-12))
                assert found == "on the curve" if count == 1 else found != "impossible"
    assert (
        verdict(0.9, 0.8, (0.0005, 0.0005)) == "impossible" and verdict(0.9, 0.91) == "impossible"
    )
    assert verdict(0.9, 0.9 / 1.1) == "on the curve" and verdict(0.9, 0.85) == "mean"
    assert verdict(1.0, 1.0) == "on the curve" and verdict(0.0, 0.0) == "on the curve"


def test_cells_as_people_write_them(tmp_path):
    path = table(
        tmp_path,
        [
            "Model",
            "Pretrained",
            "Params(M)",
            "Dice(my) val/test",
            "mIoU(my) val/test",
            "Dice(paper)",
            "mIoU(paper)",
        ],
        ["UNet-32", "None", "8.63", "0.9107/0.9444", "0.8421/0.8972", "n.a.", "n.a."],
        ["DUCKNet-17", "None", "40.1", "92.27%/95.15%", "86.12%/90.94%", "0.9343", "0.8769"],
    )
    found = lint(path)
    assert [row["row"] for row in found["rows"]] == [
        "UNet-32 None my val test #1",
        "UNet-32 None my val test #2",
        "DUCKNet-17 None my val test #1",
        "DUCKNet-17 None my val test #2",
        "DUCKNet-17 None paper",
    ]
    assert (
        found["rows"][3]["foreground"] == pytest.approx(0.918, abs=0.0015) and found["skipped"] == 1
    )


@pytest.mark.parametrize(
    ("header", "lines", "words"),
    [
        (
            ["model", "accuracy"],
            [["a", ".9"]],
            "found no pair of Dice and IoU columns among model, accuracy",
        ),
        (["model", "dice", "iou"], [], "has no rows"),
        (["model", "dice", "iou"], [["a", "high", "low"]], "no row has a number"),
    ],
)
def test_wrong_tables(tmp_path, header, lines, words):
    with pytest.raises(UserError, match=words):
        lint(table(tmp_path, header, *lines))


def test_a_table_that_is_not_there(tmp_path, capsys):
    assert main(["lint", str(tmp_path / "no.csv")]) == 2
    assert "no.csv: cannot be read" in capsys.readouterr().err
