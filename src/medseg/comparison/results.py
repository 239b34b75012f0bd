"""The results of several runs, and whether they may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import UserError, choose
from medseg.evaluation.rows import TEXT, read_rows

PIXELS = ("tp", "fp", "fn", "tn")
DISTANCES = (
    "hd95",
    "assd",
    "surface_dice",
)  # what depends on the size of a pixel and the tolerance


@dataclass(frozen=True)
class Results:
    """One run's numbers on one set of images: rows of per_image.csv by name, and summary.json."""

    name: str
    folder: Path
    rows: dict[str, dict[str, Any]]
    summary: dict[str, Any]


def read_results(runs: Sequence[Path], part: str) -> list[Results]:
    """The results of each run on `part`, from its report, or from a folder that `medseg evaluate
    --out` wrote.

    Raises `UserError` where there are none, and for fewer than two runs.
    """
    folders = [_folder(run, part) for run in runs]
    if len(set(folders)) < max(2, len(folders)):
        raise UserError(
            f"compare: got {len(set(folders))} different run{'s' * (len(set(folders)) != 1)} in"
            f" {len(runs)}, expected at least two, each once"
        )
    names = [run.resolve().name for run in runs]
    names = [
        name if names.count(name) == 1 else str(run) for name, run in zip(names, runs, strict=True)
    ]
    return [
        Results(
            name,
            folder,
            {row["name"]: row for row in read_rows(folder / "per_image.csv")},
            _summary(folder),
        )
        for name, folder in zip(names, folders, strict=True)
    ]


def check_alike(results: Sequence[Results], metric: str) -> list[str]:
    """Refuse what cannot be compared, by `UserError`; return notes on what a reader should know.

    Refused: other images, other reference masks (another resolution or other ignored pixels shows
    there too), another number of classes, another rule for empty masks, other groups, for distances
    another spacing or tolerance, and a metric that a run lacks.
    """
    first = results[0]
    columns = [key for key in next(iter(first.rows.values())) if key not in (*TEXT, *PIXELS)]
    choose("--metric", metric, columns)
    for other in results[1:]:
        _same_images(first, other)
        _same_protocol(first, other, metric)
        _same_masks(first, other)
        if metric not in next(iter(other.rows.values())):
            raise UserError(
                f"{other.name}: has no {metric} for each image, {first.name} has; judge both with"
                " this medseg"
            )
    return _notes(results)


def _same_images(first: Results, other: Results) -> None:
    missing, extra = (
        sorted(a.rows.keys() - b.rows.keys()) for a, b in ((first, other), (other, first))
    )
    if missing or extra:
        parts = [
            f"{len(names)} of {run.name} ({', '.join(names[:3])}{', ...' * (len(names) > 3)}) that"
            f" {without.name} lacks"
            for names, run, without in ((missing, first, other), (extra, other, first))
            if names
        ]
        raise UserError(
            f"{first.name} and {other.name} were judged on different images: {' and '.join(parts)};"
            " judge both on the same part of the same data with medseg evaluate --data"
        )


def _same_protocol(first: Results, other: Results, metric: str) -> None:
    rules = {
        "classes": lambda s: s.get("classes"),
        "rule for empty masks": lambda s: (s.get("empty_masks") or {}).get("policy"),
    }
    if metric in DISTANCES:
        rules |= {
            key: lambda s, key=key: (s.get("distances") or {}).get(key)
            for key in ("spacing", "tolerance")
        }
    for what, get in rules.items():
        a, b = get(first.summary), get(other.summary)
        if a != b:
            raise UserError(
                f"{first.name} and {other.name} were judged by different protocols: {what}: {a!r}"
                f" and {b!r}; judge both with this medseg"
            )


def _same_masks(first: Results, other: Results) -> None:
    for name, row in first.rows.items():
        twin = other.rows[name]
        if (group := row.get("group")) and twin.get("group") and group != twin["group"]:
            raise UserError(
                f"{first.name} and {other.name} were judged with different groups: {name} is of"
                f" {group} and of {twin['group']}; judge both again with the same groups.csv"
            )
        if not all(key in each for key in PIXELS for each in (row, twin)):
            continue
        for what, keys in (("foreground pixels", ("tp", "fn")), ("pixels in all", PIXELS)):
            a, b = (round(sum(each[key] for key in keys)) for each in (row, twin))
            if a != b:
                raise UserError(
                    f"{first.name} and {other.name} were judged by different protocols: the mask of"
                    f" {name} has {a} and {b} {what}; judge both against the same masks, at the"
                    " same resolution"
                )


def _notes(results: Sequence[Results]) -> list[str]:
    found = []
    for key, why in (
        (
            "split",
            (
                "trained on different images, so that the data differ and not only the model; make"
                " sure that none was trained on these"
            ),
        ),
        ("threshold", "a threshold chosen on these images would be an unfair gain"),
    ):
        values = {run.name: run.summary.get(key) for run in results}
        if len({str(value) for value in values.values()}) > 1:
            found.append(
                f"{key} differs"
                f" ({', '.join(f'{name}: {value}' for name, value in values.items())}): {why}"
            )
    leaky = [
        run.name for run in results if (run.summary.get("stamp") or {}).get("verdict") == "LEAKY"
    ]
    if leaky:
        found.append(f"LEAKY split: {', '.join(leaky)}; see the run's report")
    repeated = [
        run.name for run in results if (run.summary.get("repeats") or {}).get("kind") == "seed"
    ]
    if repeated:
        found.append(
            f"{', '.join(repeated)}: the mean over seeds for each image; the tests say nothing of"
            " the spread over seeds"
        )
    return found


def _folder(run: Path, part: str) -> Path:
    for folder in (run, run / "report" / part):
        if (folder / "per_image.csv").exists():
            return folder.resolve()
    if not run.is_dir():
        raise UserError(f"{run}: no such run folder")
    judged = sorted(path.parent.name for path in (run / "report").glob("*/per_image.csv"))
    hint = (
        f"it was judged on {', '.join(judged)}: give --split-part"
        if judged
        else "run medseg evaluate, or give its --out folder"
    )
    raise UserError(f"{run}: holds no results on {part}; {hint}")


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / 'summary.json'}: cannot be read ({reason}); judge the run again"
        ) from None
    return found if isinstance(found, dict) else {}
