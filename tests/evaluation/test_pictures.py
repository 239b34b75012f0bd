"""Which images a report shows: failures above all, lesions, and not four frames of one video."""

import math

import pytest

from medseg.evaluation.pictures import empty_shown, gallery, has_lesion, pick, worst_shown


def row(name, dice, *, group=None, fp=10, lesion=100):
    tp = round(lesion * dice)
    return {"name": name, "group": group, "dice": dice, "tp": tp, "fp": fp, "fn": lesion - tp}


def empty(name, fp=0, group=None):
    return row(name, 0.0 if fp else 1.0, group=group, fp=fp, lesion=0)


def ranked(count, group=lambda i: None):
    """Dice from 0.4 up, so that none of the images is a failure but the lowest."""
    return [row(f"{i}", 0.4 + 0.5 * i / count, group=group(i)) for i in range(count)]


def test_images_without_a_lesion_are_apart_false_alarms_first():
    rows = [*ranked(40), empty("clean"), empty("small", 5), empty("large", 500), empty("clean 2")]
    found = pick(rows)
    assert found["empty"] == ["large", "small", "clean", "clean 2"]
    others = [name for key in ("worst", "median", "best") for name in found[key]]
    assert len(others) == 16 and not set(others) & set(found["empty"])
    assert found["best"] == ["39", "38", "37", "36"]


def test_best_and_median_images_are_of_different_groups():
    rows = ranked(80, group=lambda i: f"video {i // 5}")
    found = pick(rows)
    group_of = {each["name"]: each["group"] for each in rows}
    for key in ("best", "median"):
        groups = [group_of[name] for name in found[key]]
        assert len(set(groups)) == len(groups) == 4, key
    assert found["best"][0] == "79"  # the first of all is shown, whatever its group
    assert found["best"] == ["79", "74", "69", "64"]
    assert all(30 <= int(name) <= 50 for name in found["median"])
    assert found["median"] == sorted(found["median"], key=int)


def test_the_worst_images_are_the_worst_though_they_are_of_one_group():
    rows = ranked(40, group=lambda i: "one video" if i < 20 else f"video {i}")
    assert pick(rows)["worst"] == [str(i) for i in range(8)]


def test_one_group_alone_fills_every_gallery():
    found = pick(ranked(40, group=lambda i: "one video"))
    assert found["best"] == ["39", "38", "37", "36"] and len(found["median"]) == 4


def test_variety_does_not_make_a_bad_image_one_of_the_best():
    """Another group stands far below: the best images stay in the upper half."""
    rows = ranked(40, group=lambda i: "a" if i >= 12 else f"video {i}")
    assert found_ranks(pick(rows)["best"]) == [36, 37, 38, 39]


def found_ranks(names):
    return sorted(int(name) for name in names)


def test_every_failure_is_shown():
    failures = [row(f"failure {i}", 0.01 * i, group="one video") for i in range(20)]
    alarms = [empty(f"alarm {i}", fp=i + 1) for i in range(10)]
    rows = [*ranked(60)[20:], *failures, *alarms, empty("clean")]
    assert (worst_shown(rows), empty_shown(rows)) == (20, 10)
    shown = gallery(rows, lambda names: dict.fromkeys(names, (None, None, None)))
    assert [each.name for each in shown["worst"]] == [each["name"] for each in failures]
    assert [each.name for each in shown["empty"]] == [each["name"] for each in alarms[::-1]]
    many = [row(f"{i}", 0.1) for i in range(50)] + [empty(f"e{i}", 1) for i in range(50)]
    assert (worst_shown(many), empty_shown(many)) == (24, 24)


@pytest.mark.parametrize(
    "counts", [{}, {"tp": None}, {"tp": math.nan, "fp": 0, "fn": 0}, {"tp": 0, "fn": 0}]
)
def test_rows_without_pixel_counts_count_as_with_a_lesion(counts):
    """Tables of older versions have no tp, fp and fn."""
    rows = [{"name": f"{i}", "dice": i / 20} | counts for i in range(20)]
    assert all(map(has_lesion, rows))
    found = pick(rows)
    assert not found["empty"] and found["best"][0] == "19"


def test_means_over_seeds_are_told_apart_too():
    assert has_lesion({"tp": 0.0, "fp": 3.5, "fn": 0.5})
    assert not has_lesion({"tp": 0.0, "fp": 3.5, "fn": 0.0})
