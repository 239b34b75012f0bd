"""The parts of report.html that `--protocols all` adds: distances, lesions, calibration; and the
table by lesion size.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from medseg.reports.charts import line_chart
from medseg.reports.sections import interval_text

SALIENCY = {
    "max_dice": "highest Dice of a threshold",
    "max_iou": "highest IoU of a threshold",
    "weighted_f": "weighted F-beta",
    "s_measure": "S-measure",
    "e_measure": "E-measure, mean over thresholds",
    "max_e_measure": "E-measure, highest of a threshold",
    "mae": "mean absolute error",
}
LABELS = {
    "hd95": "95 % Hausdorff distance",
    "assd": "average surface distance",
    "surface_dice": "surface Dice",
    "boundary_iou": "boundary IoU",
    "hd95_detected": "95 % Hausdorff distance, both masks non-empty",
    "assd_detected": "average surface distance, both masks non-empty",
    "missed": "images with a missed lesion",
    "false_alarms": "empty images with a prediction",
    "recall": "recall",
    "precision": "precision",
    "touched_recall": "recall, any overlap",
    "false_positives_per_frame": "false positives a frame",
    "false_alarm_rate": "false-alarm rate on empty frames",
    "lesions": "lesions",
    "predicted": "predicted regions",
}


def sections(summary: dict[str, Any]) -> list[str]:
    """HTML of each part whose numbers are in the summary."""
    blocks = {
        "by_size": _by_size,
        "distances": _distances,
        "lesions": _lesions,
        "calibration": _calibration,
    }
    return [
        _saliency(summary),
        *(build(summary) for key, build in blocks.items() if summary.get(key)),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table; the first cell of each row is its head, and a pair (number, interval) has the
    interval in small figures.
    """
    top = "".join(f"<th scope=col>{_text(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr><th"
        f" scope=row>{_text(first)}</th>{''.join(f'<td>{_cell(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return (
        "<div class=scroll><table"
        f" class=narrow><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _saliency(summary: dict[str, Any]) -> str:
    """What the tables of polyp papers print beside Dice and IoU; nothing without those conventions."""
    protocols = summary["protocols"]
    shown = [name for name in ("pranet", "uacanet") if name in protocols]
    if not shown:
        return ""
    rows = [
        (
            label,
            *(
                (protocols[name][key], interval_text(summary, "protocols", name, key))
                for name in shown
            ),
        )
        for key, label in SALIENCY.items()
    ]
    return (
        "<section><h2>As the tables of polyp papers</h2><p>Dice and IoU of these conventions are"
        " in the table above; the highest values are of the threshold that suits these very images"
        f" best.</p>{table(('Measure', *shown), rows)}</section>"
    )


def _by_size(summary: dict[str, Any]) -> str:
    rows = [
        (
            each["size"],
            each["images"],
            *(
                (each[key], interval_text(summary, "by_size", each["size"], key))
                for key in ("dice", "below_half")
            ),
        )
        for each in summary["by_size"]
    ]
    return (
        "<section><h2>By lesion size</h2><p>Size is the share of the image that is lesion: small"
        " below 2 %, large from 10 % on. Intervals over fewer than 30 images or groups cover less"
        " than they"
        f" claim.</p>{table(('Size', 'Images', 'Mean Dice', 'Share below .5'), rows)}</section>"
    )


def _distances(summary: dict[str, Any]) -> str:
    values = summary["distances"]
    keys = (
        "hd95",
        "assd",
        "surface_dice",
        "boundary_iou",
        "hd95_detected",
        "assd_detected",
        "missed",
        "false_alarms",
    )
    unit = (
        "pixels"
        if values["spacing"] == [1.0, 1.0]
        else f"the unit of a spacing of {values['spacing']}"
    )
    rows = [(LABELS[key], (values[key], interval_text(summary, "distances", key))) for key in keys]
    return (
        f"<section><h2>Distances</h2><p>In {_text(unit)}; surface Dice within"
        f" {values['tolerance']:g}.</p>{table(('Measure', 'Value'), rows)}<p class=small>Policy:"
        f" {_text(values['policy'])}.</p></section>"
    )


def _lesions(summary: dict[str, Any]) -> str:
    values = summary["lesions"]
    keys = (
        "lesions",
        "predicted",
        "recall",
        "touched_recall",
        "precision",
        "false_positives_per_frame",
        "false_alarm_rate",
    )
    rows = [(LABELS[key], (values[key], interval_text(summary, "lesions", key))) for key in keys]
    rows += [
        (
            f"recall, {name} ({each['lesions']})",
            (each["recall"], interval_text(summary, "lesions", "by_size", name, "recall")),
        )
        for name, each in values["by_size"].items()
    ]
    return (
        "<section><h2>Lesions</h2><p>Connected regions, matched one to one from IoU"
        f" {values['iou']:g} on; {values['empty_frames']} frames have no"
        f" lesion.</p>{table(('Measure', 'Value'), rows)}</section>"
    )


def _calibration(summary: dict[str, Any]) -> str:
    values = summary["calibration"]
    parts = {"all": "all pixels", "boundary": "near the boundary"}
    curves = {"ideal": [(0.0, 0.0), (1.0, 1.0)]}
    curves |= {
        parts[part]: [
            (point["probability"], point["foreground"]) for point in values[part]["diagram"]
        ]
        for part in parts
    }
    rows = [
        (
            parts[part],
            *(
                (values[part][key], interval_text(summary, "calibration", part, key))
                for key in ("ece", "brier")
            ),
        )
        for part in parts
    ]
    return (
        "<section><h2>Calibration</h2><p>How often a pixel is foreground, by its predicted"
        " probability: on the diagonal the probability is right. Near the boundary means"
        f" {_text(values['boundary_within'])}.</p>"
        + line_chart(
            curves,
            x_label="predicted probability",
            y_label="share of foreground",
            y_range=(0.0, 1.0),
        )
        + table(("Pixels", "Expected calibration error", "Brier score"), rows)
        + "</section>"
    )


def _cell(value: Any) -> str:
    return (
        f"{_number(value[0])}<small>{_text(value[1])}</small>"
        if isinstance(value, tuple)
        else _number(value)
    )


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{4 if abs(value) < 10 else 1}f}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
