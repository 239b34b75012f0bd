"""Folds keep groups together, are alike, and say when they leak."""

import json

import numpy as np
import pytest
from textured import scenes

from medseg.cli import main
from medseg.data.sample import Item
from medseg.data.sources.folder import open_dataset
from medseg.data.sources.groups import leak_stamp, read_groups
from medseg.data.sources.splits import read_split
from medseg.errors import UserError
from medseg.evaluation.stamp import split_stamp
from medseg.leaks.folds import assign, foreground, strata


def test_units_stay_whole_and_folds_are_alike():
    rng = np.random.default_rng(0)
    units = [f"u{i}" for i in range(40) for _ in range(rng.integers(3, 20))]
    kinds = rng.choice(5, len(units), p=(0.3, 0.25, 0.2, 0.15, 0.1))
    folds = assign(units, kinds, 5, 0)
    for unit in set(units):
        assert len({fold for fold, own in zip(folds, units, strict=True) if own == unit}) == 1
    assert np.ptp(np.bincount(folds)) <= 0.1 * len(units) / 5
    for kind in range(5):
        counts = np.bincount(folds[kinds == kind], minlength=5)
        assert np.ptp(counts) <= 0.3 * counts.mean() + 2
    assert np.array_equal(folds, assign(units, kinds, 5, 0))
    assert not np.array_equal(folds, assign(units, kinds, 5, 1))
    order = rng.permutation(len(units))
    assert np.array_equal(assign([units[i] for i in order], kinds[order], 5, 0), folds[order])


def test_no_fold_is_empty_and_too_few_groups_are_refused():
    units = ["big"] * 90 + ["a", "b", "c"]
    assert set(assign(units, np.zeros(93, int), 4, 0)) == {0, 1, 2, 3}
    with pytest.raises(UserError, match="only 4 groups; choose at most 4"):
        assign(units, np.zeros(93, int), 5, 0)


def test_strata_are_quarters_of_the_images_with_lesions():
    shares = np.concatenate([np.zeros(10), np.linspace(0.01, 0.4, 80)])
    found = strata(np.random.default_rng(0).permutation(shares))
    assert np.bincount(found).tolist() == [10, 20, 20, 20, 20]
    assert strata(np.zeros(3)).tolist() == [0, 0, 0]


@pytest.fixture
def videos(tmp_path):
    root = scenes(tmp_path / "videos", {"": range(24)})
    (root / "groups.csv").write_text(
        "name,group\n" + "".join(f"f{i},v{i // 3}\n" for i in range(24))
    )
    return root


def run(videos, tmp_path, capsys, *words):
    assert (
        main(["data", "split", str(videos), "--out", str(tmp_path / "folds"), "--json", *words])
        == 0
    )
    return json.loads(capsys.readouterr().out), sorted(
        path for path in (tmp_path / "folds").iterdir() if path.is_dir()
    )


def test_the_command_writes_folds_that_training_can_use(videos, tmp_path, capsys):
    result, folders = run(videos, tmp_path, capsys, "--folds", "4")
    assert result["leaky"] is False and [path.name for path in folders] == [
        f"grouped-kfold-4-seed0-fold{k}" for k in range(1, 5)
    ]
    tested = []
    for at, folder in enumerate(folders):
        dataset = open_dataset(videos, split=str(folder))
        groups = {part: {item.group for item in items} for part, items in dataset.parts.items()}
        assert (
            not groups["train"] & groups["test"]
            | groups["train"] & groups["validation"]
            | groups["validation"] & groups["test"]
        )
        assert split_stamp(dataset, "test")["verdict"] == "grouped" and dataset.split == folder.name
        names = [item.name for item in dataset.parts["test"]]
        assert [
            item.name
            for item in open_dataset(videos, split=str(folders[at - 1])).parts["validation"]
        ] == names
        assert result["folds"][at]["images"] == len(names)
        tested += names
    assert sorted(tested) == sorted(f"f{i}" for i in range(24))
    assert sum(row["empty"] for row in result["folds"]) == 5  # f0, f5, ..., f20
    assert main(["data", "split", str(videos), "--out", str(tmp_path / "folds")]) == 2


def test_random_folds_of_videos_are_stamped(videos, tmp_path, capsys):
    result, folders = run(videos, tmp_path, capsys, "--scheme", "random-kfold")
    assert result["leaky"] and "LEAKY" in result["notes"][0]
    assert split_stamp(open_dataset(videos, split=str(folders[0])), "test")["verdict"] == "LEAKY"


def test_two_folds_have_no_validation_part(videos, tmp_path, capsys):
    folders = run(videos, tmp_path, capsys, "--folds", "2")[1]
    assert read_split(folders[0]).keys() == {"train", "test"}


def test_groups_of_a_file_travel_with_the_folds(videos, tmp_path, capsys):
    (videos / "groups.csv").rename(tmp_path / "g.csv")
    assert main(["data", "split", str(videos), "--out", str(tmp_path / "folds")]) == 2
    assert "--groups auto" in capsys.readouterr().err
    result, folders = run(videos, tmp_path, capsys, "--groups", str(tmp_path / "g.csv"))
    assert result["groups"].endswith("g.csv")
    assert read_groups(folders[0] / "groups.csv") == read_groups(tmp_path / "g.csv")
    assert {item.group for item in open_dataset(videos, split=str(folders[0])).parts["test"]} <= {
        f"v{i}" for i in range(8)
    }


def test_auto_groups_copies_and_says_so(videos, tmp_path, capsys):
    for i in (1, 2):
        (videos / "images" / f"f{i}.png").write_bytes((videos / "images" / "f0.png").read_bytes())
    result, folders = run(videos, tmp_path, capsys, "--groups", "auto")
    assert result["groups"].startswith("auto") and "-auto-" in result["scheme"]
    assert "clusters by appearance: 22" in result["notes"][0]
    groups = read_groups(folders[0] / "groups.csv")
    assert groups["f0"] == groups["f1"] == groups["f2"] and len(set(groups.values())) == 22
    for folder in folders:
        assert sum({"f0", "f1", "f2"} <= set(names) for names in read_split(folder).values()) == 1


def test_foreground_is_the_share_of_mask_pixels(videos):
    items = sorted(
        (
            item
            for part in open_dataset(videos, split="random-80-20-0").parts.values()
            for item in part
        ),
        key=lambda item: item.name,
    )
    shares = dict(zip([item.name for item in items], foreground(items), strict=True))
    assert shares["f0"] == 0
    assert shares["f1"] == pytest.approx(np.pi * 11**2 / 32000, rel=0.05)


def test_what_the_stamp_says():
    def item(name, group=None):
        return Item(name, None, (), group)

    assert leak_stamp([item("a"), item("b", "g")], [item("c"), item("d", "h")]) == ""
    assert leak_stamp([item("a", "g"), item("b", "g"), item("c")], [item("d", "g")]).startswith(
        "LEAKY: 2 of 3 images come from 1 scenes, video sequences or patients that training or"
        " selection saw"
    )
    assert "1 of 2 images were trained on" in leak_stamp([item("a"), item("b")], [item("a")])


def train(folder):
    """The words of a training of seconds, to which a split and a folder are added."""
    size = ["--model", "unet", "--base-channels", "4", "--size", "32"]
    steps = ["--epochs", "1", "--batch-size", "4", "--precision", "fp32"]
    machine = ["--accelerator", "cpu", "--threads", "1", "--no-tensorboard", "--no-progress"]
    return ["train", "--data", str(folder), *size, *steps, *machine]


@pytest.mark.slow
def test_a_run_on_a_leaking_split_is_stamped_everywhere(videos, tmp_path, capsys):
    folders = run(videos, tmp_path, capsys, "--folds", "3")[1]
    for split, leaky in (("random-80-10-10", True), (str(folders[0]), False)):
        out = tmp_path / f"run{leaky}"
        assert main([*train(videos), "--split", split, "--out", str(out)]) == 0
        for part in ("validation", "test"):
            summary = json.loads((out / "report" / part / "summary.json").read_text())
            assert summary["stamp"]["verdict"] == ("LEAKY" if leaky else "grouped")
            assert ("LEAKY" in (out / "report" / part / "report.html").read_text()) == leaky
    capsys.readouterr()
    seen = tmp_path / "runFalse"
    assert main(["evaluate", str(seen), "--accelerator", "cpu"]) == 0
    assert "LEAKY" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_folds_are_those_that_cross_validation_trains_on(videos, tmp_path, capsys):
    folders = run(videos, tmp_path, capsys, "--folds", "3")[1]
    split = ["--split", str(folders[0].parent), "--folds", "all"]
    assert main([*train(videos), *split, "--out", str(tmp_path / "cv")]) == 0
    summary = json.loads((tmp_path / "cv" / "report" / "test" / "summary.json").read_text())
    assert summary["n_images"] == sum(
        len((folder / "test.txt").read_text().split()) for folder in folders
    )
    assert (
        summary["stamp"]["verdict"] == "grouped"
        and (tmp_path / "cv" / "fold-3" / "config.yaml").exists()
    )
