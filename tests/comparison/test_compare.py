"""Runs beside each other: what is refused, what is found, and the page."""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg.cli import main
from medseg.comparison.compare import compare_pairs
from medseg.comparison.page import p_text
from medseg.comparison.results import read_results
from medseg.evaluation.rows import read_rows
from medseg.files import write_csv, write_text
from medseg.reports.charts import forest
from medseg.statistics.bootstrap import mean_interval
from medseg.statistics.paired import permutation_test, wilcoxon

POLICY = "Dice and IoU of an empty reference: 1 if the prediction is empty too, else 0"


def run_of(folder: Path, dice, *, names=None, groups=None, foreground=100, **summary) -> Path:
    """A run folder as far as comparing reads it; every mask has `foreground` of 1,000 pixels."""
    dice = list(dice)
    names = names or [f"{i + 1}" for i in range(len(dice))]
    rows = [
        {
            "name": name,
            **({"group": groups[i]} if groups else {}),
            "dice": float(d),
            "precision": math.nan if i == 0 else 0.5,
            "tp": 40,
            "fp": 10,
            "fn": foreground - 40,
            "tn": 990 - foreground,
        }
        for i, (name, d) in enumerate(zip(names, dice, strict=True))
    ]
    report = folder / "report" / "test"
    report.mkdir(parents=True)
    write_csv(report / "per_image.csv", rows)
    write_text(
        report / "summary.json",
        json.dumps(
            {
                "data": "set",
                "split": "s",
                "classes": 2,
                "model": "unet",
                "threshold": 0.5,
                "empty_masks": {"policy": POLICY},
            }
            | summary
        ),
    )
    return folder


@pytest.fixture
def three(tmp_path):
    """60 images: b is better than a everywhere by little, c is as good as b but on other images."""
    rng = np.random.default_rng(0)
    a = rng.beta(8, 2, 60).clip(0, 0.9)
    b = a + rng.uniform(0.01, 0.05, 60)
    c = b + rng.normal(0, 0.05, 60)
    return [
        run_of(tmp_path / name, np.clip(values, 0, 1))
        for name, values in (("a", a), ("b", b), ("c", c))
    ]


def test_differences_and_tests_are_those_of_the_pair(three):
    results = read_results(three, "test")
    found = compare_pairs(results, "dice")
    assert {run["name"] for run in found["runs"]} == {"a", "b", "c"} and found["n_images"] == 60
    means = [run["mean"] for run in found["runs"]]
    assert means == sorted(means, reverse=True) and found["runs"][-1]["name"] == "a"
    values = {run.name: np.array([row["dice"] for row in run.rows.values()]) for run in results}
    smallest = []
    for pair in found["pairs"]:
        difference = values[pair["a"]] - values[pair["b"]]
        assert pair["difference"] == pytest.approx(difference.mean()) and pair["difference"] >= 0
        assert pair["interval"] == pytest.approx(mean_interval(difference, bounds=(-1, 1)))
        assert pair["p_permutation"] == permutation_test(difference) and pair[
            "p_wilcoxon"
        ] == pytest.approx(wilcoxon(difference))
        assert (pair["a_better"], pair["b_better"]) == (
            (difference > 0).sum(),
            (difference < 0).sum(),
        )
        assert pair["p_permutation_holm"] >= pair["p_permutation"]
        smallest.append(pair["p_permutation"])
    low = min(found["pairs"], key=lambda pair: pair["p_permutation"])
    assert low["p_permutation_holm"] == pytest.approx(min(1, 3 * min(smallest)))
    letters = {run["name"]: run["letters"] for run in found["runs"]}
    assert letters["b"] == letters["c"] == "a" and letters["a"] == "b"


def test_many_pairs_need_smaller_p_values(three, monkeypatch):
    """p = .03 for each of three pairs is .09 after Holm: nothing differs; for one pair alone it
    would.
    """
    monkeypatch.setattr("medseg.comparison.compare.permutation_test", lambda sums: 0.03)
    found = compare_pairs(read_results(three, "test"), "dice")
    assert not any(pair["different"] for pair in found["pairs"]) and {
        run["letters"] for run in found["runs"]
    } == {"a"}
    found = compare_pairs(read_results(three[:2], "test"), "dice")
    assert found["pairs"][0]["different"] and [run["letters"] for run in found["runs"]] == [
        "a",
        "b",
    ]


def test_groups_are_the_units(tmp_path):
    """Copies of six images: by image a clear difference, by group none."""
    rng = np.random.default_rng(4)
    sizes, gain = (
        np.array([4, 16, 10, 8, 12, 10]),
        np.array([0.05, 0.04, 0.06, -0.07, 0.055, -0.02]),
    )
    base = np.repeat(rng.uniform(0.5, 0.8, 6), sizes)
    better = base + np.repeat(gain, sizes)
    groups = [f"g{i}" for i in np.repeat(range(6), sizes)]
    b = run_of(tmp_path / "b", better)
    grouped = compare_pairs(
        read_results([run_of(tmp_path / "g", base, groups=groups), b], "test"), "dice"
    )
    plain = compare_pairs(read_results([run_of(tmp_path / "a", base), b], "test"), "dice")
    assert plain["pairs"][0]["different"] and not grouped["pairs"][0]["different"]
    assert (grouped["intervals"]["unit"], grouped["intervals"]["n_groups"]) == ("group", 6)
    assert not any(
        "no difference can be shown" in note for note in grouped["notes"]
    )  # 2 of 2^6 ways is .031
    for row, group in zip(read_rows(tmp_path / "g/report/test/per_image.csv"), groups, strict=True):
        assert row["group"] == group
    five = [
        run_of(tmp_path / name, values[:50], groups=groups[:50])
        for name, values in (("e", base), ("f", better))
    ]
    assert any(
        "below 0.0625" in note
        for note in compare_pairs(read_results(five, "test"), "dice")["notes"]
    )
    assert (
        grouped["pairs"][0]["p_permutation"]
        == permutation_test(sizes * gain)
        != permutation_test(gain)
    )
    assert (
        grouped["pairs"][0]["p_wilcoxon"] == pytest.approx(wilcoxon(gain)) != wilcoxon(sizes * gain)
    )


def test_undefined_images_are_left_out_and_counted(three):
    found = compare_pairs(read_results(three, "test"), "precision")
    assert (found["n_images"], found["left_out"]) == (59, 1)
    assert all(pair["p_permutation"] == 1 for pair in found["pairs"])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            {"names": [f"{i + 2}" for i in range(9)]},
            ["different images", "1 of a (1) that b lacks", "1 of b (10) that a lacks"],
        ),
        ({"dice": [0.5] * 8}, ["different images", "1 of a (9) that b lacks"]),
        (
            {"names": [f"00{i + 1}" for i in range(9)]},
            ["different images", "9 of a (1, 2, 3, ...)"],
        ),
        (
            {"foreground": 90},
            ["different protocols", "the mask of 1 has 100 and 90 foreground pixels"],
        ),
        ({"classes": 3}, ["different protocols", "classes: 2 and 3"]),
        (
            {"empty_masks": {"policy": "left out"}},
            ["different protocols", "rule for empty masks", "left out"],
        ),
        ({"groups": list("xxxyyyzzz")}, ["different groups", "1 is of a and of x"]),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, second, words):
    run_of(tmp_path / "a", [0.5] * 9, groups=list("aaabbbccc"))
    run_of(tmp_path / "b", **{"dice": [0.6] * 9} | second)
    assert (
        main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
        == 2
    )
    line = capsys.readouterr().err.strip()
    assert line.count("\n") == 0 and all(word in line for word in ["a and b", *words]), line
    assert not (tmp_path / "out").exists()


def test_wrong_use(three, tmp_path, capsys):
    a, b, _ = map(str, three)
    (tmp_path / "empty").mkdir()
    for words, argv in (
        ("at least two", [a]),
        ("each once", [a, b, a]),
        ("no such run folder", [a, str(tmp_path / "no")]),
        (
            "holds no results on validation; it was evaluated on test",
            [a, b, "--split-part", "validation"],
        ),
        ("run medseg evaluate", [a, str(tmp_path / "empty")]),
        ("did you mean dice?", [a, b, "--metric", "dic"]),
        ("unknown --metric 'tp'", [a, b, "--metric", "tp"]),
    ):
        assert main(["compare", *argv, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    (three[1] / "report" / "test" / "per_image.csv").write_text("name,dice\n1,high\n")
    assert main(["compare", a, b]) == 2
    assert "cannot be read as a table of images" in capsys.readouterr().err


def test_notes_on_what_else_differs(tmp_path, three, capsys):
    other = run_of(
        tmp_path / "d",
        [0.5] * 60,
        split="t",
        threshold=0.3,
        stamp={"verdict": "LEAKY", "text": ""},
        repeats={"kind": "seed"},
    )
    assert (
        main(["compare", str(three[0]), str(other), "--out", str(tmp_path / "out"), "--json"]) == 0
    )
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert all(
        words in notes
        for words in (
            "no groups known",
            "split differs (a: s, d: t)",
            "threshold differs",
            "LEAKY split: d",
            "d: the mean over seeds",
        )
    )


def test_the_page(three, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", *map(str, three), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "compare.html" in shown and "letters" in shown
    text = (out / "compare.html").read_text()
    charts = [ET.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", text)]
    assert len(charts) == 2 and "<script" not in text and "Holm" in text
    document = json.loads((out / "compare.json").read_text())
    for chart, rows in zip(charts, (document["runs"], document["pairs"]), strict=True):
        drawn = [each.get("class") for each in chart]
        assert drawn.count("bar") == drawn.count("line c0") == len(rows)
    assert main(["compare", *map(str, three), "--out", str(out)]) == 2
    assert main(["compare", *map(str, three), "--out", str(out), "--overwrite"]) == 0


def test_the_page_has_what_a_report_has(tmp_path):
    """Stamps, every common convention, sizes, the left tail and the methods of a paper."""
    more = {
        "part": "test",
        "stamp": {"verdict": "LEAKY", "text": "all known"},
        "protocols": {"per-image-foreground": {"dice": 0.7}, "pranet": {"dice": 0.65}},
        "intervals": {"protocols": {"pranet": {"dice": [0.6, 0.7]}}},
        "left_tail": {"share": 0.25, "images": 2},
        "by_size": [{"size": "small", "images": 8, "dice": 0.7, "below_half": 0.25}],
    }
    runs = [
        run_of(tmp_path / "a", [0.5, 0.9] * 4, **more),
        run_of(tmp_path / "b", [0.6, 0.8] * 4, **more),
    ]
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "compare.html").read_text()
    for words in (
        "LEAKY</span> all known",
        "Dice in every convention",
        "0.600 to 0.700",
        "small (8 images)",
        "share below 0.5",
        "of the test part of set (split: s)",
        "numpy",
    ):
        assert words in text
    assert text.count("LEAKY</span>") == 2


def test_distances_of_another_spacing_are_refused(tmp_path, capsys):
    runs = [
        run_of(tmp_path / str(i), [0.5] * 4, distances={"spacing": [1, i], "tolerance": 2})
        for i in (1, 2)
    ]
    for run in runs:
        rows = read_rows(run / "report" / "test" / "per_image.csv")
        write_csv(run / "report" / "test" / "per_image.csv", [row | {"hd95": 3.0} for row in rows])
    assert main(["compare", *map(str, runs), "--metric", "hd95", "--out", str(tmp_path / "o")]) == 2
    assert "different protocols: spacing: [1, 1] and [1, 2]" in capsys.readouterr().err
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "o")]) == 0


def test_a_forest_plot_puts_values_where_they_belong():
    chart = ET.fromstring(
        forest(
            [("<b>", 0.2, 0.1, 0.4), ("only a point", -0.1, math.nan, math.nan)],
            label="x & y",
            zero=True,
        )
    )
    bar = next(each for each in chart if each.get("class") == "bar")
    line = next(each for each in chart if each.get("class") == "line c0")
    zero = next(each for each in chart if each.get("class") == "mark")
    left, right, middle, origin = (
        float(line.get("x1")),
        float(line.get("x2")),
        float(bar.get("x")) + 4,
        float(zero.get("x1")),
    )
    assert origin < left < middle < right
    assert (middle - origin) / (left - origin) == pytest.approx(2, rel=0.02)
    assert (right - origin) / (left - origin) == pytest.approx(4, rel=0.02)
    assert sum(each.get("class") == "line c0" for each in chart) == 1
    assert forest([], label="x") == ""


def test_p_values_are_never_zero():
    values = {
        5e-5: "< 0.0001",
        0.00234: "0.00234",
        0.0499: "0.0499",
        0.0501: "0.0501",
        0.5: "0.50",
        1.0: "1.00",
    }
    assert {p: p_text(p) for p in values} == values


def test_two_trainings(fast, tmp_path, capsys):
    for seed in (0, 1):
        medseg.train(**fast | {"epochs": 1, "seed": seed, "out": str(tmp_path / f"seed{seed}")})
    assert (
        main(
            [
                "compare",
                str(tmp_path / "seed0"),
                str(tmp_path / "seed1"),
                "--out",
                str(tmp_path / "c"),
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["n_images"] == 5
    folder = tmp_path / "other"
    medseg.evaluate(tmp_path / "seed1", split_part="validation", out=str(folder), accelerator="cpu")
    assert (
        main(["compare", str(tmp_path / "seed0"), str(folder), "--out", str(tmp_path / "d")]) == 2
    )
    assert "different images" in capsys.readouterr().err
    assert (
        main(
            [
                "compare",
                str(tmp_path / "seed0"),
                str(folder),
                "--out",
                str(tmp_path / "d"),
                "--split-part",
                "validation",
            ]
        )
        == 0
    )
