"""Several trainings as one: seeds give mean and spread, folds evaluate every image once."""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

import medseg
from conftest import FAST, write_part
from medseg.cli import main
from medseg.errors import Interrupted, UserError
from medseg.evaluation.conventions import per_image as rows_of
from medseg.evaluation.conventions import summarise
from medseg.evaluation.intervals import summary_intervals
from medseg.evaluation.redraw import redraw
from medseg.evaluation.repeats import merge_folds, merge_seeds
from medseg.evaluation.rows import read_rows
from medseg.statistics.bootstrap import mean_interval
from medseg.training import repeat


@pytest.fixture
def folds(tmp_path):
    """18 images and three folds of them, each with 6 for test and 3 for validation."""
    write_part(tmp_path / "flat", 18)
    names = [f"frame{i:03}" for i in range(18)]
    (tmp_path / "flat" / "groups.csv").write_text(
        "name,group\n" + "\n".join(f"{name},v{i // 2}" for i, name in enumerate(names))
    )
    for k in range(3):
        test = names[6 * k : 6 * k + 6]
        rest = [name for name in names if name not in test]
        folder = tmp_path / "five" / f"fold-{k + 1}"
        folder.mkdir(parents=True)
        for part, each in (("train", rest[:8]), ("validation", rest[8:]), ("test", test)):
            (folder / f"{part}.txt").write_text("\n".join(each))
    return FAST | {
        "data": str(tmp_path / "flat"),
        "split": str(tmp_path / "five"),
        "folds": "all",
        "out": str(tmp_path / "run"),
        "epochs": 1,
    }


def per_image(folder) -> dict:
    return {row["name"]: row for row in read_rows(Path(folder) / "per_image.csv")}


@pytest.fixture
def inverted(separated):
    """The same run with its classes exchanged: well separated too, and each image a failure.

    Its lists are gone, so that nobody knows what its network has seen.
    """
    shutil.rmtree(Path(separated) / "splits")
    stored = torch.load(f"{separated}/best.pt", weights_only=True)
    stored["weights"]["head.weight"] = stored["weights"]["head.weight"].flip(0)
    torch.save(stored, f"{separated}/best.pt")
    return separated


def test_folds_evaluate_every_image_once(folds, inverted, capsys):
    result = medseg.train(**folds | {"init": inverted, "lr": 1e-12})
    run, summary = Path(result["run"]), result["summaries"]["test"]
    rows = per_image(run / "report" / "test")
    assert (
        len(rows) == summary["n_images"] == 18
        and summary["part"] == "out-of-fold"
        and summary["split"] == "five, 3 folds"
    )
    each = {k: per_image(run / f"fold-{k}" / "report" / "test") for k in "123"}
    assert rows == {name: row for table in each.values() for name, row in table.items()}
    assert summary["repeats"]["names"] == ["1", "2", "3"] and summary["repeats"]["n_images"] == [
        6,
        6,
        6,
    ]
    dice = summary["repeats"]["protocols"]["per-image-foreground"]["dice"]
    means = [statistics.mean(row["dice"] for row in table.values()) for table in each.values()]
    assert dice["values"] == pytest.approx(means, abs=1e-6)
    assert (dice["mean"], dice["sd"]) == pytest.approx(
        (statistics.mean(dice["values"]), statistics.stdev(dice["values"]))
    )
    assert summary["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        statistics.mean(dice["values"])
    )
    assert summary["stamp"]["verdict"] == "grouped" and summary["intervals"]["n_groups"] == 9
    assert summary["stamp"]["text"].startswith(
        "3 of 3 trainings; of fold 1: none of the 3 groups of test"
    )
    for convention in summary["protocols"]:
        low, high = summary["intervals"]["protocols"][convention]["dice"]
        assert low <= summary["protocols"][convention]["dice"] <= high
    page = (run / "report" / "test" / "report.html").read_text()
    assert all(
        words in page
        for words in ("Each fold", "repeated for folds 1, 2, 3", "All test parts of the folds")
    )
    assert "No curves" not in page
    assert (
        page.count("<img ") == 2 * min(18, 24)
        and "Worst images" in page
        and "By lesion size" in page
    )  # one network each
    assert "Left tail" in page and summary["left_tail"]["images"] == sum(
        row["dice"] < 0.5 for row in rows.values()
    )
    pictures = redraw(run, "test", list(rows.values()))
    for picture in (
        each for group in pictures.values() for each in group
    ):  # the masks that the numbers are of
        hits = (picture.truth == 1) & (picture.prediction == 1)
        assert (hits.sum(), (picture.prediction == 1).sum()) == (
            picture.row["tp"],
            picture.row["tp"] + picture.row["fp"],
        )
    stored = json.loads((run / "report" / "test" / "summary.json").read_text())
    assert stored["protocols"] == summary["protocols"]
    assert (
        main(["compare", str(run), str(run / "report" / "test"), "--out", str(run / "c")]) == 2
    )  # the same results
    assert main(["compare", str(run), str(run / "fold-1"), "--out", str(run / "c")]) == 2
    assert (
        "12 of run (frame006, frame007, frame008, ...) that fold-1 lacks" in capsys.readouterr().err
    )


def test_pooled_numbers_over_folds_are_those_of_all_pixels():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 500, (12, 2, 2))
    names = [f"{i}" for i in range(12)]

    rows = rows_of(counts, names)
    parts = {"1": rows[:7], "2": rows[7:]}
    summaries = {
        k: {
            "classes": 2,
            "n_images": len(each),
            **summarise(counts[:7] if k == "1" else counts[7:], names[: len(each)]),
        }
        for k, each in parts.items()
    }
    merged, summary = merge_folds(parts, summaries)
    assert (
        summary["protocols"] == summarise(counts, names)["protocols"]
        and [row["name"] for row in merged] == names
    )
    with pytest.raises(UserError, match="0: is in test of fold 1 and of fold 2"):
        merge_folds({"1": rows[:7], "2": rows[:1]}, summaries)


@pytest.mark.parametrize("classes", [2, 3])
def test_seeds_are_averaged_image_by_image(classes):
    rng = np.random.default_rng(classes)
    names = [f"{i:03}" for i in range(20)]

    counts = rng.integers(1, 500, (20, classes, classes))
    one = {"0": rows_of(counts, names)}

    def summary_of(counts):
        return {"classes": classes, "n_images": 20, **summarise(counts, names)}

    _, alone = merge_seeds(one, {"0": summary_of(counts)})
    interval = summary_intervals(counts, [None] * 20)["protocols"]["per-image-foreground"]["dice"]
    assert alone["intervals"]["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        interval
    )
    twice, same = merge_seeds(
        one | {"1": one["0"]}, {"0": summary_of(counts), "1": summary_of(counts)}
    )
    for convention, metrics in alone["protocols"].items():
        assert same["protocols"][convention] == pytest.approx(metrics)
    assert same["intervals"]["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        interval
    )  # copies say nothing new
    other = rng.integers(1, 500, (20, classes, classes))
    both, two = merge_seeds(
        one | {"1": rows_of(other, names)}, {"0": summary_of(counts), "1": summary_of(other)}
    )
    assert two["intervals"]["protocols"]["per-image-foreground"]["dice"] == pytest.approx(
        mean_interval([r["dice"] for r in both])
    )
    spread = two["repeats"]["protocols"]["pooled-foreground"]["iou"]
    assert spread["values"] == [
        summarise(each, names)["protocols"]["pooled-foreground"]["iou"] for each in (counts, other)
    ]
    assert spread["sd"] == pytest.approx(abs(spread["values"][0] - spread["values"][1]) / 2**0.5)
    assert two["protocols"]["pooled-foreground"]["iou"] == pytest.approx(sum(spread["values"]) / 2)
    assert [row["dice"] for row in twice] == pytest.approx([row["dice"] for row in one["0"]])
    assert [row["dice"] for row in both] == pytest.approx(
        [(a["dice"] + b["dice"]) / 2 for a, b in zip(one["0"], rows_of(other, names), strict=True)]
    )


def test_seeds_give_mean_and_spread(fast, tmp_path):
    result = medseg.train(**fast | {"epochs": 1, "seeds": "0,2"})
    run = Path(result["run"])
    assert set(result["summaries"]) == {"validation", "test"}
    summary = result["summaries"]["test"]
    alone = medseg.train(**fast | {"epochs": 1, "seed": 2, "out": str(tmp_path / "alone")})[
        "summaries"
    ]["test"]
    values = summary["repeats"]["protocols"]["per-image-foreground"]["dice"]["values"]
    assert (
        summary["repeats"]["names"] == ["0", "2"]
        and values[1] == alone["protocols"]["per-image-foreground"]["dice"]
    )
    assert summary["protocols"]["per-image-foreground"]["dice"] == pytest.approx(sum(values) / 2)
    assert "repeated for seeds 0, 2" in (run / "report" / "test" / "report.html").read_text()
    assert medseg.Predictor.load(run / "seed-2", accelerator="cpu")
    with pytest.raises(UserError, match=r"holds 2 runs; give one of them, such as .*seed-0"):
        medseg.evaluate(run)


def test_a_stopped_run_goes_on_where_it_was(fast, monkeypatch):
    trained = []
    real_train = repeat.single.train

    def stopping(config, **options):
        trained.append((config.training.seed, config.output.resume is not None))
        if len(trained) == 2:
            raise Interrupted("child")
        return real_train(config, **options)

    monkeypatch.setattr(repeat.single, "train", stopping)
    with pytest.raises(Interrupted, match=r"run$"):
        medseg.train(**fast | {"epochs": 1, "seeds": "0,1"})
    first = (Path(fast["out"]) / "seed-0" / "report" / "test" / "summary.json").read_text()
    result = medseg.train(resume=fast["out"])
    assert trained == [(0, False), (1, False), (1, False)]
    assert result["summaries"]["test"]["repeats"]["names"] == ["0", "1"]
    assert (Path(fast["out"]) / "seed-0" / "report" / "test" / "summary.json").read_text() == first
    assert (
        medseg.train(resume=fast["out"])["summaries"]["test"]["n_images"] == 5 and len(trained) == 3
    )
    medseg.train(resume=fast["out"], epochs=2)
    assert trained[3:] == [(0, True), (1, True)]


def test_folds_of_each_seed(folds):
    result = medseg.train(**folds | {"seeds": "0,1"})
    assert (Path(result["run"]) / "seed-1" / "fold-3" / "report" / "test").is_dir()
    summary = result["summaries"]["test"]
    assert (
        summary["n_images"] == 18
        and summary["repeats"]["kind"] == "seed"
        and summary["part"] == "out-of-fold"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": None}, "give the folder that holds fold-1"),
        ({"split": "fold-1"}, "holds 0 folders named fold-1"),
        ({"folds": "first"}, "expected one of all"),
        ({"folds": None, "seeds": "0,0"}, "expected different whole numbers joined by commas"),
        ({"folds": None, "seeds": "a"}, "different whole numbers"),
        ({"devices": 2}, "use --devices 1"),
    ],
)
def test_wrong_use(folds, changes, words):
    if changes.get("split"):
        changes = changes | {"split": f"{folds['split']}/{changes['split']}"}
    with pytest.raises(UserError, match=words):
        medseg.train(**folds | changes)
    assert not Path(folds["out"]).exists()


def test_a_fold_without_test_images(folds):
    (Path(folds["split"]) / "fold-2" / "test.txt").unlink()
    with pytest.raises(UserError, match=r"fold-2: holds no test\.txt"):
        medseg.train(**folds)
