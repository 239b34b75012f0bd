"""The results of several runs, and whether they may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.sources.names import some
from medseg.errors import UserError, choose
from medseg.evaluation.rows import TEXT, read_rows
from medseg.inference.exported import is_exported, results_of_file

PIXELS = ("tp", "fp", "fn", "tn")
DISTANCES = ("hd95", "assd", "surface_dice")  # depend on the size of a pixel and the tolerance


@dataclass(frozen=True)
class Results:
    """One run's numbers on one set of images: rows of per_image.csv by name, and summary.json."""

    name: str
    folder: Path
    rows: dict[str, dict[str, Any]]
    summary: dict[str, Any]


def read_results(runs: Sequence[Path], part: str) -> list[Results]:
    """The results of each run on `part`, from its report or a folder of `medseg evaluate --out`.

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

    Refused: other images by name, other reference masks (another resolution or other ignored pixels
    shows there too), another number of classes, another rule for empty masks, other groups, for
    distances another spacing or tolerance, and a metric that a run lacks.
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
                f"{other.name}: has no {metric} for each image, {first.name} has; evaluate both"
                " with this medseg"
            )
    return _notes(results)


def _same_images(first: Results, other: Results) -> None:
    """`UserError` naming images that one of the two lacks."""
    parts = []
    for run, without in ((first, other), (other, first)):
        names = sorted(run.rows.keys() - without.rows.keys())
        if names:
            some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
            parts.append(f"{len(names)} of {run.name} ({some}) that {without.name} lacks")
    if parts:
        raise UserError(
            f"{first.name} and {other.name} were evaluated on different images:"
            f" {' and '.join(parts)}; evaluate both on the same part of the same data with medseg"
            " evaluate --data"
        )


def _same_protocol(first: Results, other: Results, metric: str) -> None:
    """`UserError` where classes, the rule for empty masks, or the settings of distances differ."""
    ours, theirs = _rules(first), _rules(other)
    wanted = ["classes", "rule for empty masks"]
    if metric in DISTANCES:
        wanted += ["spacing", "tolerance"]
    for what in wanted:
        if ours[what] != theirs[what]:
            raise UserError(
                f"{first.name} and {other.name} were evaluated by different protocols: {what}:"
                f" {ours[what]!r} and {theirs[what]!r}; evaluate both with this medseg"
            )


def _rules(run: Results) -> dict[str, Any]:
    """What decided the numbers of a run, by the name that a message gives it."""
    of_distances = run.summary.get("distances") or {}
    return {
        "classes": run.summary.get("classes"),
        "rule for empty masks": (run.summary.get("empty_masks") or {}).get("policy"),
        "spacing": of_distances.get("spacing"),
        "tolerance": of_distances.get("tolerance"),
    }


def _same_masks(first: Results, other: Results) -> None:
    """`UserError` where an image has another group or another mask in the two."""
    _same_mask_pixels(first, other)
    for name, row in first.rows.items():
        twin = other.rows[name]
        group = row.get("group")
        if group and twin.get("group") and group != twin["group"]:
            raise UserError(
                f"{first.name} and {other.name} were evaluated with different groups: {name} is of"
                f" {group} and of {twin['group']}; evaluate both again with the same groups.csv"
            )
        if not all(key in row and key in twin for key in PIXELS):
            continue
        for what, keys in (("foreground pixels", ("tp", "fn")), ("pixels in all", PIXELS)):
            ours = round(sum(row[key] for key in keys))
            theirs = round(sum(twin[key] for key in keys))
            if ours != theirs:
                raise UserError(
                    f"{first.name} and {other.name} were evaluated by different protocols: the mask"
                    f" of {name} has {ours} and {theirs} {what}; evaluate both against the same"
                    " masks, at the same resolution"
                )


def _same_mask_pixels(first: Results, other: Results) -> None:
    """`UserError` naming images whose masks are others, where both know their pixels."""
    names = _differing(first, other, "mask_digest")
    if names:
        raise UserError(
            f"{first.name} and {other.name} were evaluated against different masks of the same"
            f" names: {some(names)} ({len(names)} in all); evaluate both on the same data with"
            " medseg evaluate --data"
        )


def _differing(first: Results, other: Results, column: str) -> list[str]:
    """The images for which both have a digest in the column, and not the same."""
    pairs = {
        name: (row.get(column), other.rows[name].get(column)) for name, row in first.rows.items()
    }
    return [name for name, (ours, theirs) in pairs.items() if ours and theirs and ours != theirs]


def _other_files(results: Sequence[Results]) -> list[str]:
    """A note where images of one name are other files for two runs, or where nobody knows."""
    first, *others = results
    notes = []
    for other in others:
        names = _differing(first, other, "image_digest")
        if names:
            notes.append(
                f"{first.name} and {other.name}: {len(names)} images of the same names are other"
                f" files ({some(names)}); unless they were only stored anew, the runs saw different"
                " images"
            )
    unknown = [
        run.name for run in results if not all(row.get("mask_digest") for row in run.rows.values())
    ]
    if unknown:
        notes.append(
            f"{', '.join(unknown)}: evaluated by an earlier medseg, so that only names and numbers"
            " of pixels say that images and masks are the same"
        )
    return notes


def _notes(results: Sequence[Results]) -> list[str]:
    """What a reader of the comparison should know."""
    reasons = {
        "split": (
            "trained on different images, so that the data differ and not only the model; make sure"
            " that none was trained on these"
        ),
        "threshold": "a threshold chosen on these images would be an unfair gain",
    }
    notes = _other_files(results)
    for key, why in reasons.items():
        values = {run.name: run.summary.get(key) for run in results}
        if len({str(value) for value in values.values()}) > 1:
            each = ", ".join(f"{name}: {value}" for name, value in values.items())
            notes.append(f"{key} differs ({each}): {why}")
    leaky = [run.name for run in results if _stamped_leaky(run.summary)]
    if leaky:
        notes.append(f"LEAKY split: {', '.join(leaky)}; see the run's report")
    repeated = [run.name for run in results if _over_seeds(run.summary)]
    if repeated:
        notes.append(
            f"{', '.join(repeated)}: the mean over seeds for each image; the tests say nothing"
            " about the spread over seeds"
        )
    return notes


def _stamped_leaky(summary: dict[str, Any]) -> bool:
    return (summary.get("stamp") or {}).get("verdict") == "LEAKY"


def _over_seeds(summary: dict[str, Any]) -> bool:
    return (summary.get("repeats") or {}).get("kind") == "seed"


def _folder(run: Path, part: str) -> Path:
    if is_exported(run):
        return _folder_of_file(run, part)
    for folder in (run, run / "report" / part):
        if (folder / "per_image.csv").exists():
            return folder.resolve()
    if not run.is_dir():
        raise UserError(f"{run}: no such run folder")
    evaluated = sorted(path.parent.name for path in (run / "report").glob("*/per_image.csv"))
    hint = (
        f"it was evaluated on {', '.join(evaluated)}: give --split-part"
        if evaluated
        else "run medseg evaluate, or give its --out folder"
    )
    others = sorted(path.parent for path in (run / "evaluate").glob(f"*-{part}/per_image.csv"))
    if others:  # where medseg evaluate writes without --out
        hint = f"give one of the folders that medseg evaluate wrote, such as {others[0]}"
    raise UserError(f"{run}: holds no results on {part}; {hint}")


def _folder_of_file(file: Path, part: str) -> Path:
    """The results of an exported file on a part: those of the one evaluation beside it."""
    found = sorted(path.parent for path in results_of_file(file).glob(f"*/*-{part}/per_image.csv"))
    if len(found) == 1:
        return found[0].resolve()
    hint = "run medseg evaluate" if not found else f"give one of them, such as {found[0]}"
    raise UserError(f"{file}: has {len(found)} results on {part} beside it; {hint}")


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / 'summary.json'}: cannot be read ({reason}); evaluate the run again"
        ) from None
    return found if isinstance(found, dict) else {}
