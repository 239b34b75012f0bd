"""report.html: one file with the numbers, the curves, the distribution and the pictures of an
evaluation.

It loads nothing, runs no script, prints, and follows the reader's light or dark scheme. All that
comes from the user, file names above all, is escaped.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from loguru import logger

from medseg.config import EvaluateConfig
from medseg.environment import environment
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.intervals import headline
from medseg.evaluation.pictures import Picture
from medseg.evaluation.results import Evaluation
from medseg.files import write_text
from medseg.inference.overlay import outlines
from medseg.reports.breakdown import sections
from medseg.reports.charts import histogram, line_chart
from medseg.reports.methods import methods
from medseg.reports.sections import (
    interval_note,
    interval_notes,
    interval_text,
    repeats_section,
    stamp_lines,
)

THUMBNAIL = 440  # pixels, the longer side
MEANING = {
    "per-image-foreground": "the value of each image, foreground only, averaged over images",
    "pooled-foreground": (
        "pixels of all images counted together, foreground only: large lesions weigh more"
    ),
    "macro-with-background": (
        "pooled pixels, averaged over background and foreground: flattering where lesions are small"
    ),
    "pranet": "maps stretched to 0..1, averaged over 256 thresholds and images: most polyp tables",
    "uacanet": "as pranet, without the stretching",
    "polyp-pvt-soft": "soft Dice of stretched maps, as in Polyp-PVT's training log",
    "fcbformer-352": "per image at 352x352",
    "ducknet-352": "pooled pixels at 352x352",
}
PUBLISHED_POLICY = (
    " From pranet on, the conventions treat such masks as their sources do: most give 0."
)
GROUPS = {"worst": "Worst images", "median": "Median images", "best": "Best images"}


def evaluate_with_report(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, write the two files of numbers and report.html; returns the summary."""
    evaluation, folder = evaluate(config)
    write_report(folder / "report.html", evaluation)
    logger.info(headline(evaluation.summary))
    logger.info(f"report: {folder / 'report.html'}")
    return evaluation.summary


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page; what is not known of the evaluation is left out."""
    title, summary, rows = evaluation.title, evaluation.summary, evaluation.rows
    config, history = evaluation.subject.config, evaluation.subject.history
    pictures, versions = evaluation.pictures, environment()
    scores = [row["dice"] for row in rows if _finite(row.get("dice"))]
    body = [
        _head(title, summary),
        _protocols(summary),
        *sections(summary),
        repeats_section(summary),
        _distribution(scores, len(rows)),
        "" if summary.get("repeats") else _curves(history, summary),
        _left_tail(summary, scores, pictures),
        *(_gallery(GROUPS[group], pictures.get(group, [])) for group in GROUPS),
        (
            "<section><h2>Methods, ready for a"
            f" paper</h2><p>{_text(methods(summary, config, versions))}</p></section>"
        ),
        _details(f"All {len(rows)} images", _table(rows)),
        _details("Settings", _pairs(config)) if config else "",
        _details("Environment", _pairs(versions)),
    ]
    write_text(path, page(title, body, str(summary.get("medseg", ""))))


def page(title: str, body: Sequence[str], version: str) -> str:
    """The whole document around sections of HTML."""
    footer = (
        f"<footer>medseg {_text(version)}, {date.today().isoformat()}. A research tool, not a"
        " medical device.</footer>"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width,'
        f' initial-scale=1"><title>{_text(title)}</title><style>{_CSS}</style></head>'
        f"<body><main>{''.join(body)}{footer}</main></body></html>\n"
    )


def _head(title: str, summary: dict[str, Any]) -> str:
    facts = [_text(summary[key]) for key in ("data", "split", "part") if summary.get(key)]
    checkpoint = summary.get("checkpoint") or {}
    lines = []
    if checkpoint:
        lines.append(
            f"{_text(checkpoint.get('file'))}, epoch {_text(checkpoint.get('epoch'))}, chosen by "
            f"{_text(checkpoint.get('selected_by'))}"
        )
    if summary.get("size"):
        lines.append(
            f"network input {'x'.join(map(str, summary['size']))} ({_text(summary.get('resize'))}),"
            " judged at the native resolution of each mask"
        )
    dice = summary["protocols"].get("per-image-foreground", {}).get("dice")
    lines += stamp_lines(summary)
    interval = interval_text(summary, "protocols", "per-image-foreground", "dice")
    notes = "".join(
        f"<li>{_text(note)}</li>" for note in (*summary.get("notes", []), *interval_notes(summary))
    )
    return (
        f"<header><h1>{_text(title)}</h1><p class=facts>{' · '.join(facts)} · {summary['n_images']}"
        " images</p>"
        f"<div class=headline><span class=number>{_number(dice)}</span><p>"
        f"{f'95 % interval {interval}<br>' if interval else ''}mean Dice of the foreground, each"
        " image counting the same"
        f"</p></div>{''.join(f'<p class=small>{line}</p>' for line in lines)}"
        f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</header>"
    )


def _protocols(summary: dict[str, Any]) -> str:
    names = ("dice", "iou", "precision", "recall", "specificity")
    head = "".join(
        f"<th scope=col>{'IoU' if name == 'iou' else name.capitalize()}</th>" for name in names
    )
    lines = "".join(
        f"<tr><th scope=row>{_text(name)}<small>{MEANING.get(name, '')}</small></th>"
        + "".join(
            f"<td>{_number(values.get(key))}<small>{interval_text(summary, 'protocols', name, key)}</small></td>"
            for key in names
        )
        + "</tr>"
        for name, values in summary["protocols"].items()
    )
    empty = summary.get("empty_masks") or {}
    policy = (
        f"<p class=small>{_text(empty.get('policy'))}. Masks without foreground:"
        f" {_text(empty.get('reference_empty'))}, of these {_text(empty.get('false_alarms'))} with"
        f" a false alarm.{PUBLISHED_POLICY if 'pranet' in summary['protocols'] else ''}</p>"
        if empty
        else ""
    )
    return (
        "<section><h2>Numbers</h2><p>Conventions of the literature. They are different quantities: "
        "compare a number only with others of its own row.</p>"
        f"<div class=scroll><table><thead><tr><th scope=col>Convention</th>{head}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>{policy}{interval_note(summary)}</section>"
    )


def _distribution(scores: list[float], count: int) -> str:
    if not scores:
        return ""
    low, middle, high = np.quantile(scores, (0.25, 0.5, 0.75))
    missed = sum(score < 0.5 for score in scores)
    return (
        f"<section><h2>Dice of each image</h2><p>Median {middle:.3f}, half of the images between"
        f" {low:.3f} and {high:.3f}; {missed} of {count} below .5.</p>"
        + histogram(scores, x_label="Dice", y_label="images", mark=float(middle))
        + "</section>"
    )


def _left_tail(
    summary: dict[str, Any], scores: list[float], pictures: dict[str, list[Picture]]
) -> str:
    if not scores:
        return ""
    low, shown = sum(score < 0.5 for score in scores), len(pictures.get("worst", []))
    interval = interval_text(summary, "left_tail", "share")
    where = (
        ""
        if not (low and shown)
        else (
            " They come first among the worst images below."
            if low <= shown
            else f" The worst {shown} of them are below."
        )
    )
    return (
        f"<section><h2>Left tail</h2><p>{low / len(scores):.1%} of the images ({low} of"
        f" {len(scores)}) have a Dice below .5"
        f"{f' (95 % interval of the share: {interval})' if interval else ''}.{where}</p></section>"
    )


def _curves(history: list[dict[str, Any]], summary: dict[str, Any]) -> str:
    if len(history) < 2:
        return (
            "<section><h2>Training</h2><p>No curves: metrics.csv was not found or has one"
            " epoch.</p></section>"
        )

    def points(key: str) -> list[tuple[float, float]]:
        return [(row["epoch"], float(row[key])) for row in history if _finite(row.get(key))]

    terms = [key for key in history[0] if key == "loss" or key.startswith("loss/")]
    chosen = (summary.get("checkpoint") or {}).get("epoch")
    charts = [
        line_chart(
            {key.removeprefix("loss/"): points(key) for key in terms},
            x_label="epoch",
            y_label="training loss",
        ),
        line_chart(
            {"Dice": points("val_dice"), "IoU": points("val_iou")},
            x_label="epoch",
            y_label="validation",
            mark=chosen,
        ),
        line_chart(
            {"learning rate": points("lr")}, x_label="epoch", y_label="learning rate", log=True
        ),
    ]
    return (
        "<section><h2>Training</h2><p>The vertical line marks the epoch of these weights.</p><div"
        " class=charts>" + "".join(charts) + "</div></section>"
    )


def _gallery(title: str, pictures: list[Picture]) -> str:
    if not pictures:
        return ""
    return (
        f"<section><h2>{title}</h2><p class=legend><span class=truth></span> truth (solid) <span"
        " class=prediction></span> prediction (dashed)</p><div"
        f" class=gallery>{''.join(map(_figure, pictures))}</div></section>"
    )


def _figure(picture: Picture) -> str:
    scale = min(1.0, THUMBNAIL / max(picture.image.shape[:2]))
    size = (
        max(1, round(picture.image.shape[1] * scale)),
        max(1, round(picture.image.shape[0] * scale)),
    )
    small = cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA)
    masks = [
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        for mask in (picture.truth, picture.prediction)
    ]
    name = _text(picture.name)
    values = ", ".join(f"{key} {_number(picture.row.get(key))}" for key in ("precision", "recall"))
    return (
        "<figure><div"
        f" class=pair>{_image(small, f'{name}, the image')}{_image(outlines(small, *masks), f'{name}, with the outlines of truth and prediction')}</div><figcaption><b>Dice"
        f" {_number(picture.row.get('dice'))}</b> {name}<br>{values}</figcaption></figure>"
    )


def _image(pixels: np.ndarray, text: str) -> str:
    data = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )[1]
    return (
        f'<img alt="{text}" width="{pixels.shape[1]}" height="{pixels.shape[0]}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'
    )


def _table(rows: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th scope=col>{_text(key)}</th>" for key in keys)
    lines = "".join(
        "<tr>" + "".join(f"<td>{_number(row.get(key))}</td>" for key in keys) + "</tr>"
        for row in sorted(rows, key=lambda row: row["dice"] if _finite(row.get("dice")) else -1)
    )
    return (
        "<div"
        f" class=scroll><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _pairs(values: dict[str, Any]) -> str:
    lines = "".join(
        f"<tr><th scope=row>{_text(key)}</th><td>{_text(value)}</td></tr>"
        for key, value in values.items()
    )
    return f"<div class=scroll><table class=pairs>{lines}</table></div>"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{_text(title)}</summary>{content}</details>"


def _number(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


_CSS = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6675;--line:#d9dee6;--page:#fff;--card:#f5f7fa;--a:#0b5fa5;--b:#b3541e;
--c:#2a7f62;--d:#8a3b8f;--e:#8a6d00;--f:#444}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b4;--line:#353d4a;--page:#14181f;--card:#1d232d;--a:#6db3f2;
--b:#f0955c;--c:#5fc9a3;--d:#d08ad5;--e:#e0bf4a;--f:#bbb}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px}h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:36px 0 6px;border-top:1px solid var(--line);padding-top:20px}p{margin:4px 0 10px}
.facts,.small,small,figcaption,footer,.legend{color:var(--soft)}.small,.legend,figcaption,footer{font-size:.86rem}
.small{margin:2px 0}
.headline{display:flex;align-items:baseline;gap:16px;margin:14px 0 8px;flex-wrap:wrap}.number{font-size:3.2rem;font-weight:650;
letter-spacing:-.02em;font-variant-numeric:tabular-nums}.notes{font-size:.86rem;color:var(--soft);padding-left:18px;margin:8px 0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:6px 10px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}th[scope=row],th:first-child,
td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:9.5em}
th small{display:block;font-weight:400;max-width:36em}td small{display:block}
.wide{min-width:520px}.narrow{width:auto;min-width:min(100%,600px)}
.stamp{font-weight:650;color:var(--ink);border:1px solid;border-radius:4px;padding:0 6px;margin-right:6px}
.stamp.leaky{color:var(--b)}
.pairs td{text-align:left;white-space:normal;overflow-wrap:anywhere}.charts{display:grid;gap:16px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))}svg{width:100%;height:auto;max-width:640px;display:block}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.tick,.label,.keys{fill:var(--soft);font:11px system-ui,sans-serif}
.line{fill:none;stroke-width:2}.mark{stroke:var(--ink);stroke-dasharray:3 3}.bar{fill:var(--a)}.c0{stroke:var(--a)}
.c1{stroke:var(--b)}.c2{stroke:var(--c)}.c3{stroke:var(--d)}.c4{stroke:var(--e)}.c5{stroke:var(--f)}
.key{stroke:none;font-weight:600}.key.c0{fill:var(--a)}
.key.c1{fill:var(--b)}.key.c2{fill:var(--c)}.key.c3{fill:var(--d)}.key.c4{fill:var(--e)}.key.c5{fill:var(--f)}
.gallery{display:grid;gap:18px;
grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr))}
figure{margin:0;background:var(--card);border-radius:8px;padding:10px;break-inside:avoid}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:6px}
.pair img{width:100%;height:auto;border-radius:4px}figcaption{margin-top:6px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
.truth,.prediction{display:inline-block;width:28px;vertical-align:middle;border-top:3px solid #fff;outline:1px solid #000}
.prediction{border-top:3px dashed #00c8ff;outline:none;background:#000;margin-left:14px}details{margin-top:20px;
border-top:1px solid var(--line);padding-top:12px}summary{cursor:pointer;font-weight:600}footer{margin-top:40px}
@media print{details{display:none}main{padding:0}}
"""
