"""The page is one file, escapes what users name, and bears missing pieces."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from medseg.evaluation.pictures import Picture, pick
from medseg.evaluation.results import Evaluation, Subject
from medseg.inference.overlay import blend, outlines
from medseg.reports.charts import (
    bars,
    forest,
    histogram,
    line_chart,
    parallel_coordinates,
    scatter,
)
from medseg.reports.evaluation import write_report

PROTOCOL = {"dice": 0.9, "iou": 0.82, "precision": math.nan, "recall": None, "specificity": 0.99}


def rows(count):
    return [
        {"name": f"image {i}", "dice": i / max(1, count - 1), "iou": 0.5, "precision": math.nan}
        for i in range(count)
    ]


def picture(name="a", **row):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:60] = 1
    return Picture(
        name,
        image,
        mask,
        np.roll(mask, 5, 1),
        {"name": name, "dice": 0.8, "precision": 0.8, "recall": 0.8} | row,
    )


def page(tmp_path, *, summary=None, of_rows=None, pictures=None, history=(), config=None):
    summary = {"model": "unet", "data": "set", "part": "test", "n_images": 3} | (summary or {})
    summary = {"protocols": {"per-image-foreground": PROTOCOL}} | summary
    subject = Subject({}, config or {}, list(history))
    found = Evaluation(subject, summary, rows(3) if of_rows is None else of_rows, pictures or {})
    write_report(tmp_path / "report.html", found)
    return (tmp_path / "report.html").read_text()


def test_the_page_is_self_contained(tmp_path):
    text = page(
        tmp_path,
        pictures={"worst": [picture()]},
        history=[{"epoch": e, "loss": 1 / e, "val_dice": 0.1 * e, "lr": 0.1} for e in (1, 2, 3)],
    )
    assert "<script" not in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert text.count("<img") == 2 and text.count("data:image/jpeg;base64,") == 2
    assert text.count("<svg") == 4
    assert "0.9000" in text and "–" in text


def test_names_are_escaped(tmp_path):
    name = """<b>x&"'</b>.png"""
    text = page(
        tmp_path,
        of_rows=[{"name": name, "dice": 0.5}],
        pictures={"best": [picture(name)]},
        summary={
            "model": name,
            "n_images": 1,
            "protocols": {name: PROTOCOL},
            "data": name,
            "notes": [name],
        },
        config={name: name, "lr": 0.1},
    )
    assert "<b>x" not in text and 'x&"' not in text


def test_images_without_a_lesion_say_what_was_predicted(tmp_path):
    alarm = picture("alarm", dice=0.0, tp=0, fp=1234, fn=0)
    clean = picture("clean", dice=1.0, tp=0, fp=0, fn=0)
    text = page(tmp_path, pictures={"best": [picture()], "empty": [alarm, clean]})
    best, _, empty = text.partition("<h2>Images without a lesion</h2>")
    assert "precision 0.8000, recall 0.8000" in best and "false alarm" not in best
    assert empty.index("false alarm, 1,234 pixels") < empty.index("nothing predicted")
    assert "precision 0" not in empty


@pytest.mark.parametrize(
    ("worst", "empty", "words"),
    [
        (2, 1, "They come first among the worst images and the images without a lesion below."),
        (3, 0, "They come first among the worst images below."),
        (0, 3, "They come first among the images without a lesion below."),
        (1, 1, "below 0.5. 2 of them are shown below."),
        (0, 0, "have a Dice below 0.5.</p>"),
    ],
)
def test_the_left_tail_says_where_the_failures_are_shown(tmp_path, worst, empty, words):
    of_rows = [{"name": f"{i}", "dice": 0.1 if i < 3 else 0.9} for i in range(10)]
    pictures = {
        "worst": [picture(f"w{i}", dice=0.1) for i in range(worst)] + [picture("good", dice=0.9)],
        "empty": [picture(f"e{i}", dice=0.0, tp=0, fp=9, fn=0) for i in range(empty)],
    }
    text = page(tmp_path, of_rows=of_rows, pictures=pictures)
    assert "30.0% of the images (3 of 10)" in text and words in text


@pytest.mark.parametrize("count", [0, 1, 2, 5, 9, 16, 40])
def test_picked_images_differ_and_are_the_extremes(count):
    found = pick(rows(count))
    names = [name for group in found.values() for name in group]
    assert len(set(names)) == len(names) == min(count, 16)
    if count >= 16:
        assert found["worst"][0] == "image 0" and found["best"][0] == f"image {count - 1}"
        assert all(
            count // 2 - 4 <= int(name.split()[1]) <= count // 2 + 4 for name in found["median"]
        )


def test_rows_without_a_dice_do_not_break_the_page(tmp_path):
    undefined = [{"name": "a", "dice": math.nan}, {"name": "b"}]
    assert pick(undefined) == {"worst": [], "median": [], "best": [], "empty": []}
    assert "No curves" in page(tmp_path, of_rows=undefined)


@pytest.mark.parametrize(
    "chart",
    [
        lambda: line_chart(
            {"a<b": [(1, 1.0), (2, math.nan), (3, 2.0)], "c": [(1, 5.0), (3, 5.0)]},
            x_label="x",
            y_label="y&",
            mark=2,
        ),
        lambda: line_chart(
            {"lr": [(1, 1e-5), (2, 1e-2), (3, 0.0)]}, x_label="x", y_label="y", log=True
        ),
        lambda: line_chart({"flat": [(1, 0.5), (2, 0.5)]}, x_label="x", y_label="y"),
        lambda: histogram([0, 0.5, 1, math.nan, 1.0], x_label="x", y_label="y", mark=0.5),
        lambda: forest([("a<b", 0.5, math.nan, math.nan), ("c", 0.2, 0.1, 0.4)], label="y&"),
        lambda: bars({"a<b": 0.75, "c": 0.0}, title="y&"),
        lambda: scatter(
            [(0.0, 0.5, "a<b"), (1.0, 0.5, "c")],
            x_ticks=[(0.0, "a<b"), (1.0, "a choice with a long name")],
            x_label="x",
            y_label="y&",
        ),
        lambda: parallel_coordinates(
            [("a<b", [(0, "low"), (1, "high")]), ("c", []), ("y&", [])],
            [([0.0, None, 1.0], 1.0, "trial<0>"), ([0.5, 0.5, 0.0], 0.0, "trial 1")],
        ),
    ],
)
def test_charts_are_well_formed_and_escape_their_text(chart):
    root = ET.fromstring(chart())
    assert "a<b" not in chart()
    for element in root.iter():
        for value in element.attrib.values():
            assert "nan" not in value.lower() and "inf" not in value


def test_a_line_of_parallel_coordinates_breaks_where_a_value_is_missing():
    chart = parallel_coordinates([("a", []), ("b", []), ("c", [])], [([0, None, 1], 1, "t")])
    (path,) = re.findall(r' d="([^"]*)"', chart)
    assert path.count("M") == 2 and "L" not in path


def test_the_label_of_an_axis_has_room_beside_long_ticks():
    points = [(0, 0.00621), (1, 0.00703)]
    root = ET.fromstring(line_chart({"a": points}, x_label="x", y_label="y"))
    texts = [each for each in root if each.get("text-anchor") == "end"]
    starts = [float(each.get("x")) - 6 * len(each.text) for each in texts]
    assert len(starts) > 2 and min(starts) > 16  # the label stands at 12, 11 pixels high


def test_epochs_and_trials_are_whole_numbers():
    root = ET.fromstring(line_chart({"a": [(0, 1.0), (2, 2.0)]}, x_label="x", y_label="y"))
    middle = [each for each in root if each.get("text-anchor") == "middle"]
    assert [each.text for each in middle if each.get("class") == "tick"] == ["0", "1", "2"]


def test_charts_of_nothing_are_empty():
    assert line_chart({"a": [(1, 2.0)]}, x_label="x", y_label="y") == ""
    assert histogram([math.nan], x_label="x", y_label="y") == ""


def test_a_histogram_counts_every_value():
    bars = re.findall(
        r"<title>[\d.]+ to [\d.]+: (\d+)</title>",
        histogram([0.0, 0.01, 0.97, 1.0, 1.0], x_label="x", y_label="y"),
    )
    assert len(bars) == 20 and sum(map(int, bars)) == 5 and bars[-1] == "3" and bars[0] == "2"


def test_blending_leaves_the_background_untouched():
    p = picture()
    out = blend(p.image, p.truth, alpha=0.5)
    assert np.array_equal(out[p.truth == 0], p.image[p.truth == 0])
    assert (out[p.truth == 1] != p.image[p.truth == 1]).any(1).mean() > 0.9
    assert np.array_equal(blend(p.image, p.truth, alpha=0.0), p.image)
    assert np.array_equal(blend(p.image, np.full_like(p.truth, 255)), p.image)


def test_outlines_stay_near_the_contours_and_differ_by_style():
    p = picture()
    out = outlines(p.image, p.truth, p.prediction, thickness=1)
    changed = (out != p.image).any(2)
    assert not changed[:16].any() and not changed[26:34, 40:55].any()
    truth, prediction = outlines(p.image, p.truth), outlines(p.image, None, p.truth)
    assert (
        (truth == 255).all(2).sum() > (prediction == np.array([0, 200, 255])).all(2).sum() > 20
    )  # solid against dashed
    assert np.array_equal(outlines(p.image), p.image)
