"""A test part of one group, such as the centre that was left out, has no interval, and says why."""

import math

import numpy as np
from scenes import pairs

import medseg
from conftest import FAST
from medseg.evaluation.intervals import about, headline, summary_intervals
from medseg.reports.tables import lines


def test_everything_that_is_written_says_why(tmp_path):
    for part, centre, start in (("train", "C2", 0), ("validation", "C3", 50), ("test", "C1", 100)):
        names = [f"{centre}_{i}" for i in range(6)]
        folder = pairs(tmp_path / "set" / part, 6, start=start, names=names)
        rows = "".join(f"{name},{centre}\n" for name in names)
        (folder / "groups.csv").write_text(f"name,group\n{rows}")
    options = FAST | {"data": str(tmp_path / "set"), "epochs": 1, "out": str(tmp_path / "run")}
    summary = medseg.train(**options)["summaries"]["test"]
    ends = summary["intervals"]["protocols"]["per-image-foreground"]["dice"]
    assert all(math.isnan(end) for end in ends)
    (note,) = summary["intervals"]["notes"]
    assert note.startswith("no interval: all 6 images are of one group (C1), which does not show")
    assert ", no interval: one group, iou" in headline(summary)
    page = (tmp_path / "run" / "report" / "test" / "report.html").read_text()
    for said in (
        "no interval: all 6 images are of one group (C1)",
        "There are no intervals: all images are of one group.",
        "No intervals are given: all images are of one group, and are not independent.",
    ):
        assert page.count(said) == 1
    assert "studentised bootstrap over 1" not in page


def test_two_groups_have_one_and_a_single_image_none():
    counts = np.array([[[50, 5], [5, 40]], [[60, 10], [2, 28]], [[55, 5], [10, 30]]])
    several = summary_intervals(counts, ["a", "a", "b"])
    low, high = several["protocols"]["per-image-foreground"]["dice"]
    assert low < high and "2 independent units" in several["notes"][0]
    said = "no interval: one image does not show by how much images differ"
    assert about([None])["notes"][1] == said and about(["a"])["notes"] == [said]
    (line,) = lines({"intervals": about(["a", "a"])})
    assert line.startswith("no interval: all 2 images are of one group (a)")
