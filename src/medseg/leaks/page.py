"""leaks.html: one file with the counts and pictures of the pairs. It loads nothing, runs no script,
and escapes all names.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medseg.data.decode.raster import read_image
from medseg.files import write_text
from medseg.leaks.evidence import Evidence, Images, strength
from medseg.leaks.matching import Pair

WIDTH = 220  # pixels of a picture
BETWEEN = 100  # pairs shown for two parts
WITHIN = 12  # pairs shown for one part
WORDS = {
    "exact": "same pixels",
    "near": "same scene",
    "neighbour": "neighbour in time",
    "group": "same sequence or patient",
}


def write_page(path: Path, result: dict[str, Any], images: Images, found: Evidence) -> None:
    """Write the page of `result`, the content of leaks.json."""
    title = f"Leaks of {result['data']} ({result['split']})"
    verdict = (
        "LEAKY: parts share images or scenes"
        if result["leaks"]
        else "no leak found"
        if result["between"]
        else "one part only: nothing can leak"
    )
    kinds = ("exact", "near", "neighbour", "group", "any")
    notes = "".join(f"<li>{_text(note)}</li>" for note in result["notes"])
    sections = [_between(row, images, found) for row in result["between"]] + [
        _within(row, images, found) for row in result["within"]
    ]
    write_text(
        path,
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
            f' content="width=device-width, '
            f'initial-scale=1"><title>{_text(title)}</title><style>{_CSS}</style></head><body><main><h1>{_text(title)}</h1>'
            f"<p class={'bad' if result['leaks'] else 'good'}>{verdict}</p><ul>{notes}</ul>"
            + _table(
                "Between parts: images of the one that have a partner in the other",
                result["between"],
                ("part", "in", "images", *kinds),
            )
            + _table(
                "Within parts: images that have a partner in the same part",
                result["within"],
                ("part", "in", "images", *kinds),
            )
            + f"<p class=small>{'; '.join(f'{kind}: {words}' for kind, words in WORDS.items())};"
            " any: at least one of them. “–”: no groups are known. All pairs are in"
            " pairs.csv.</p>"
            + "".join(sections)
            + f"<footer>medseg {_text(result['medseg'])}</footer></main></body></html>\n"
        ),
    )


def _between(row: dict[str, Any], images: Images, found: Evidence) -> str:
    """The strongest partner of each image of the later part."""
    part, other = row["part"], row["in"]
    best: dict[int, Pair] = {}
    for pair in sorted(
        found.exact | found.near | found.neighbour | found.group,
        key=lambda pair: (strength(found, pair), pair),
    ):
        a, b = pair if images.parts[pair[0]] == part else pair[::-1]
        if images.parts[a] == part and images.parts[b] == other:
            best.setdefault(a, (a, b))
    if not best:
        return ""
    return _gallery(
        f"{part} and {other}: the strongest partner of each image",
        list(best.values()),
        BETWEEN,
        images,
        found,
    )


def _within(row: dict[str, Any], images: Images, found: Evidence) -> str:
    pairs = [
        pair
        for pair in found.exact | found.near
        if images.parts[pair[0]] == images.parts[pair[1]] == row["part"]
    ]
    pairs.sort(key=lambda pair: (strength(found, pair), pair))
    return (
        _gallery(f"Within {row['part']}: the strongest pairs", pairs, WITHIN, images, found)
        if pairs
        else ""
    )


def _gallery(title: str, pairs: list[Pair], limit: int, images: Images, found: Evidence) -> str:
    more = f"<p class=small>{limit} of {len(pairs)} are shown.</p>" if len(pairs) > limit else ""
    figures = "".join(_figure(pair, images, found) for pair in pairs[:limit])
    return f"<section><h2>{_text(title)}</h2>{more}<div class=gallery>{figures}</div></section>"


def _figure(pair: Pair, images: Images, found: Evidence) -> str:
    ordered = (min(pair), max(pair))
    words = ", ".join(WORDS[kind] for kind in found.kinds(ordered))
    count = found.matches.get(ordered)
    names = " · ".join(
        f"{_text(images.items[index].name)} <small>({_text(images.parts[index])})</small>"
        for index in pair
    )
    groups = [images.items[index].group for index in pair]
    different = (
        "; <em>different known groups</em>" if all(groups) and groups[0] != groups[1] else ""
    )
    detail = f", {count} features agree" if count and ordered not in found.exact else ""
    return (
        f"<figure><div>{''.join(_picture(images, index) for index in pair)}</div>"
        f"<figcaption>{names}<br>{words}{detail}{different}</figcaption></figure>"
    )


def _picture(images: Images, index: int) -> str:
    image = read_image(images.items[index].image)
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(
        ".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )[1]
    return (
        f'<img alt="{_text(images.items[index].name)}" width="{WIDTH}" height="{height}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'
    )


def _table(title: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th scope=col>{key}</th>" for key in keys)
    lines = "".join(
        "<tr>"
        + "".join(f"<td>{'–' if row[key] is None else _text(row[key])}</td>" for key in keys)
        + "</tr>"
        for row in rows
    )
    return f"<section><h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></section>"


def _text(value: Any) -> str:
    return html.escape(str(value))


_CSS = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6675;--line:#d9dee6;--page:#fff;--card:#f5f7fa;--bad:#a8200d;--good:#1c6b4a}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b4;--line:#353d4a;--page:#14181f;--card:#1d232d;--bad:#ff8a75;
--good:#5fc9a3}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px}h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:32px 0 8px}.bad,.good{font-size:1.3rem;font-weight:650;margin:8px 0}.bad{color:var(--bad)}
.good{color:var(--good)}.small,small,footer,li,figcaption{color:var(--soft);font-size:.86rem}section{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:5px 14px;border-bottom:1px solid var(--line);
text-align:right}th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
.gallery{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr))}
figure{margin:0;background:var(--card);border-radius:8px;padding:8px;break-inside:avoid}
figure div{display:grid;grid-template-columns:1fr 1fr;gap:6px}img{width:100%;height:auto;border-radius:4px;display:block}
figcaption{margin-top:6px;overflow-wrap:anywhere}em{color:var(--bad);font-style:normal}footer{margin-top:40px}
"""
