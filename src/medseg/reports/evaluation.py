"""report.html: the numbers, curves, distribution and pictures of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from loguru import logger
from markupsafe import Markup

from medseg.config import EvaluateConfig
from medseg.environment import environment
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.intervals import TAIL, headline
from medseg.evaluation.pictures import Picture, has_lesion
from medseg.evaluation.results import Evaluation
from medseg.files import write_text
from medseg.inference.overlay import outlines
from medseg.reports import tables
from medseg.reports.charts import histogram, line_chart
from medseg.reports.images import EmbeddedImage, embed
from medseg.reports.methods import methods
from medseg.reports.page import render
from medseg.reports.stamp import stamp_of
from medseg.reports.tables import Table, interval_text, number, table

THUMBNAIL = 440  # pixels, the longer side
GALLERIES = {
    "worst": "Worst images",
    "median": "Median images",
    "best": "Best images",
    "empty": "Images without a lesion",
}
Summary = dict[str, Any]
Pictures = dict[str, list[Picture]]


@dataclass(frozen=True)
class Figure:
    """An image, the same with outlines of truth and prediction, and what stands below them."""

    images: tuple[EmbeddedImage, EmbeddedImage]
    dice: str
    name: str
    text: str


def evaluate_with_report(config: EvaluateConfig) -> Summary:
    """Evaluate, write summary.json, per_image.csv and report.html; returns the summary."""
    evaluation, folder = evaluate(config)
    write_report(folder / "report.html", evaluation)
    logger.info(headline(evaluation.summary))
    logger.info(f"report: {folder / 'report.html'}")
    return evaluation.summary


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page; what is not known of the evaluation is left out."""
    summary, rows, pictures = evaluation.summary, evaluation.rows, evaluation.pictures
    config, versions = evaluation.subject.config, environment()
    scores = [row["dice"] for row in rows if _finite(row.get("dice"))]
    page = render(
        "evaluation.html",
        version=summary.get("medseg", ""),
        title=evaluation.title,
        **_heading(summary),
        **_numbers(summary),
        repeats=_repeats(summary),
        distribution=_distribution(scores, len(rows)),
        single=not summary.get("repeats"),
        curves=_curves(evaluation.subject.history, summary),
        left_tail=_left_tail(summary, scores, pictures),
        galleries=[
            (title, [_figure(each) for each in pictures[name]])
            for name, title in GALLERIES.items()
            if pictures.get(name)
        ],
        methods=methods(summary, config, versions),
        images=_image_table(rows),
        settings=config,
        environment=versions,
    )
    write_text(path, page)


def _heading(summary: Summary) -> dict[str, Any]:
    """What stands above the sections."""
    checkpoint = summary.get("checkpoint")
    lines = []
    if checkpoint:
        lines.append(
            f"{checkpoint.get('file')}, epoch {checkpoint.get('epoch')}, chosen by"
            f" {checkpoint.get('selected_by')}"
        )
    if summary.get("size"):
        size = "x".join(map(str, summary["size"]))
        lines.append(
            f"network input {size} ({summary.get('resize')}), evaluated at the native resolution of"
            " each mask"
        )
    if summary.get("class_names"):
        lines.append(f"classes: {', '.join(summary['class_names'])}")
    intervals = summary.get("intervals") or {}
    return {
        "facts": [summary[key] for key in ("data", "split", "part") if summary.get(key)],
        "n_images": summary["n_images"],
        "dice": tables.cell_at(summary, "protocols", "per-image-foreground", "dice"),
        "lines": lines,
        "stamp": stamp_of(summary),
        "notes": [*summary.get("notes", []), *intervals.get("notes", [])],
    }


def _numbers(summary: Summary) -> dict[str, Any]:
    """The tables of metrics, and the blocks of the summary that the text around them quotes."""
    return {
        "conventions": tables.convention_table(summary),
        "published": "pranet" in summary["protocols"],
        "empty_masks": summary.get("empty_masks"),
        "interval_note": _interval_note(summary),
        "saliency": tables.saliency_table(summary),
        "by_size": tables.size_table(summary),
        "distances": tables.distance_table(summary),
        "distance_settings": summary.get("distances"),
        "lesions": tables.lesion_table(summary),
        "lesion_settings": summary.get("lesions"),
        "calibration": tables.calibration_table(summary),
        "reliability": _reliability_diagram(summary.get("calibration")),
        "boundary": (summary.get("calibration") or {}).get("boundary_within"),
    }


def _interval_note(summary: Summary) -> str:
    """A sentence on how the intervals were made."""
    made = summary.get("intervals")
    if not made:
        return ""
    if made["n_groups"] == 1:
        return "There are no intervals: all images are of one group."
    unit = f"{made['n_groups']} groups" if made["unit"] == "group" else "images"
    return (
        f"In small figures: {100 * made['level']:g} % intervals, {made['method']} over {unit},"
        f" n = {made['n_images']}."
    )


def _reliability_diagram(values: dict[str, Any] | None) -> Markup:
    """The share of foreground over the predicted probability, all pixels and near the boundary."""
    if not values:
        return Markup()
    curves = {"ideal": [(0.0, 0.0), (1.0, 1.0)]}
    for part, label in tables.CALIBRATION.items():
        diagram = values[part]["diagram"]
        curves[label] = [(point["probability"], point["foreground"]) for point in diagram]
    return line_chart(
        curves,
        x_label="predicted probability",
        y_label="share of foreground",
        y_range=(0.0, 1.0),
    )


def _repeats(summary: Summary) -> dict[str, Any] | None:
    """Each training of several seeds or folds, with their mean and standard deviation."""
    repeats = summary.get("repeats")
    if not repeats:
        return None
    numbers = repeats["protocols"]["per-image-foreground"]
    spread = [
        f"{label} {numbers[key]['mean']:.4f} ± {numbers[key]['sd']:.4f}"
        for key, label in (("dice", "Dice"), ("iou", "IoU"))
    ]
    return {
        "kind": repeats["kind"],
        "count": len(repeats["names"]),
        "spread": ", ".join(spread),
        "table": tables.repeats_table(summary),
    }


def _distribution(scores: Sequence[float], count: int) -> dict[str, Any] | None:
    """Quartiles and histogram of the Dice per image."""
    if not scores:
        return None
    low, median, high = (float(each) for each in np.quantile(scores, (0.25, 0.5, 0.75)))
    return {
        "text": (
            f"Median {median:.3f}, half of the images between {low:.3f} and {high:.3f};"
            f" {_below(scores)} of {count} below {TAIL:g}."
        ),
        "chart": histogram(scores, x_label="Dice", y_label="images", mark=median),
    }


def _curves(history: Sequence[dict[str, Any]], summary: Summary) -> list[Markup]:
    """Loss, validation and learning rate by epoch; nothing where fewer than two are known."""
    if len(history) < 2:
        return []

    def points(key: str) -> list[tuple[float, float]]:
        return [(row["epoch"], float(row[key])) for row in history if _finite(row.get(key))]

    terms = [key for key in history[0] if key == "loss" or key.startswith("loss/")]
    losses = {key.removeprefix("loss/"): points(key) for key in terms}
    validation = {"Dice": points("val_dice"), "IoU": points("val_iou")}
    chosen = (summary.get("checkpoint") or {}).get("epoch")
    rate = {"learning rate": points("lr")}
    return [
        line_chart(losses, x_label="epoch", y_label="training loss"),
        line_chart(validation, x_label="epoch", y_label="validation", mark=chosen),
        line_chart(rate, x_label="epoch", y_label="learning rate", log=True),
    ]


def _left_tail(summary: Summary, scores: Sequence[float], pictures: Pictures) -> str:
    """How many images failed, and where they are shown."""
    if not scores:
        return ""
    low = _below(scores)
    text = (
        f"{low / len(scores):.1%} of the images ({low} of {len(scores)}) have a Dice below {TAIL:g}"
    )
    if interval := interval_text(summary, "left_tail", "share"):
        text += f" (95 % interval of the share: {interval})"
    worst = _below([picture.row["dice"] for picture in pictures.get("worst", [])])
    empty = _below([picture.row["dice"] for picture in pictures.get("empty", [])])
    if not worst + empty:
        return f"{text}."
    if worst + empty < low:
        return f"{text}. {worst + empty} of them are shown below."
    places = []
    if worst:
        places.append("the worst images")
    if empty:
        places.append("the images without a lesion")
    return f"{text}. They come first among {' and '.join(places)} below."


def _figure(picture: Picture) -> Figure:
    height, width = picture.image.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA)
    masks = [
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        for mask in (picture.truth, picture.prediction)
    ]
    name, row = picture.name, picture.row
    images = (
        embed(small, f"{name}, the image"),
        embed(outlines(small, *masks), f"{name}, with the outlines of truth and prediction"),
    )
    if has_lesion(row):
        text = ", ".join(f"{key} {number(row.get(key))}" for key in ("precision", "recall"))
    elif row["fp"] > 0:
        text = f"false alarm, {row['fp']:,.0f} pixels"
    else:
        text = "nothing predicted"
    return Figure(images, number(row.get("dice")), name, text)


def _image_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of per_image.csv, the lowest Dice first."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    ranked = sorted(rows, key=lambda row: row["dice"] if _finite(row.get("dice")) else -1)
    return table(keys, [[_four_decimals(row.get(key)) for key in keys] for row in ranked])


def _four_decimals(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) and math.isfinite(value) else value


def _below(scores: Sequence[float]) -> int:
    return sum(score < TAIL for score in scores)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
