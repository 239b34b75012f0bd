"""How the masks of a set are coded: one function for training, evaluation, checks and repairs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.data.masks.census import NOISE_LEVELS, SLIP, Census, Plane, listed
from medseg.data.masks.coding import IGNORED, THRESHOLD, MaskCoding, expected, say_what
from medseg.data.masks.colours import INDEX_RANGE
from medseg.data.masks.declared import Declared, with_names
from medseg.data.masks.facts import FileFacts, look_at
from medseg.data.masks.layout import about_layout, choose_layout, plane_of
from medseg.data.masks.planes import Layout
from medseg.data.masks.recognise import indices, noisy_binary, recognise, two_values, zero_one
from medseg.data.sample import Item
from medseg.data.sealed import check_open
from medseg.errors import UserError

AUTO = Declared()
FAINT = 15  # the highest value of noise in a mask without foreground
FLAT = 4  # values of a mask without noise
OVERRULE = "--mask-kind or --class-map overrules"
_KNOWN: dict[str, MaskCoding] = {}  # by the key of `_files_key`


def survey(items: Sequence[Item], declared: Declared = AUTO, *, workers: int = 4) -> MaskCoding:
    """How the masks of a set are coded, from the values of all of them.

    What is `declared` is not recognised, but checked. Raises `UserError` naming the file for values
    that fit no coding, two codings in one set, and a file whose drawing would vanish. The result is
    kept for the process: the trials of a search ask again about the same files, and decoding all
    masks takes as long as several epochs of a small training.
    """
    key = _files_key(items, declared)
    coding = _KNOWN.get(key) if key else None
    if coding is None:
        coding = coding_of(_look_at_all(items, workers), declared)
        if key:
            _KNOWN[key] = coding
    return coding


def check_items(items: Sequence[Item], coding: MaskCoding, *, workers: int = 4) -> None:
    """`UserError` naming a file that a coding, found on other files, does not read rightly."""
    if coding.layout.plane == "colours":
        return  # each file is asked when it is read
    for plane in _planes_in(_look_at_all(items, workers), coding.layout):
        problem = misread(plane, coding, Declared(coding.kind))
        if problem:
            raise UserError(f"{plane.path}: {problem}")


def _look_at_all(items: Sequence[Item], workers: int) -> list[FileFacts]:
    """The facts of every mask file of the items."""
    jobs = [(path, item.page) for item in items for path in item.masks]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: look_at(*job), jobs))


def _planes_in(files: Sequence[FileFacts], layout: Layout) -> list[Plane]:
    return [Plane(facts.path, plane_of(facts, layout), facts.lossy) for facts in files]


def coding_of(files: Sequence[FileFacts], declared: Declared = AUTO) -> MaskCoding:
    """`survey`, of files that have been looked at."""
    layout = choose_layout(files, declared.colours)
    planes = _planes_in(files, layout)
    if layout.plane == "colours":
        coding = _of_colours(len(files), declared)
    else:
        coding = _of_values(planes, declared, indexed=layout.plane == "index")
    coding = replace(coding, layout=layout)
    for value in declared.ignore:
        coding = _without(coding, value)
    if layout.plane != "colours":
        _require_foreground(planes, coding)
    coding = with_names(coding, declared.names)
    if layout.plane != "colours":
        check_planes(planes, coding, declared)
    note = about_layout(layout)
    text = f"{coding.text} ({note})" if note else coding.text
    return replace(coding, text=text if declared.kind != "auto" else f"{text}; {OVERRULE}")


def check_planes(planes: Sequence[Plane], coding: MaskCoding, declared: Declared = AUTO) -> None:
    """Ask again after decoding: `UserError` for a file whose drawing vanishes, or all is one."""
    if declared.class_map:
        return  # every value was given its class by name
    everywhere = 0
    vanish = declared.kind == "binary-255" and any(_shows(plane, coding) for plane in planes)
    for plane in planes:
        problem = misread(plane, coding, declared)
        if problem and not (vanish and not _shows(plane, coding)):  # a word of the user's counts
            raise UserError(f"{plane.path}: {problem}")
        everywhere += _is_full(plane, coding)
    if planes and everywhere == len(planes) and declared.kind == "auto":
        raise UserError(
            f"{planes[0].path}: foreground in every pixel, as in all {len(planes)} masks (values"
            f" {listed(planes[0].histogram.levels)}); --mask-kind or --class-map VALUE=CLASS says"
            " what they hold"
        )


def misread(plane: Plane, coding: MaskCoding, declared: Declared = AUTO) -> str:
    """What is wrong with a file read by the set's coding; "" for nothing."""
    histogram = plane.histogram
    classes = coding.class_of(histogram.levels)
    held = f"holds the values {listed(histogram.levels)}"
    if (classes < 0).any():
        value = int(histogram.levels[classes < 0][0])
        return f"holds the value {value}, expected {expected(coding)}{say_what(value)}"
    drawn = histogram.levels > 0
    area, inside = histogram.counts[drawn], histogram.solid[drawn]
    if not drawn.any() or (area.sum() <= SLIP and not inside.any()):
        return ""
    noise = len(area) >= NOISE_LEVELS and int(histogram.levels[-1]) <= FAINT
    if (classes[drawn] == 0).all() and coding.threshold is not None and not noise:
        return (
            f"{held}: all are below the threshold {coding.threshold} and would count as background,"
            f" while the set is 0/255; convert the file, or say how it is coded by --mask-kind"
        )
    by_choice = declared.kind == "index" or declared.ignore
    if (classes[drawn] == IGNORED).all() and not by_choice:
        return (
            f"{held}: all but the background would be ignored; if that is right, say so by"
            " --mask-kind index or --ignore-index 255"
        )
    solid = drawn & (histogram.solid > 0)
    split = coding.threshold is not None and not plane.lossy
    if split and solid.sum() > 1 and len(histogram.levels) <= FLAT and (classes > 0).all():
        return (
            f"{held}: all would be foreground; --mask-kind or --class-map VALUE=CLASS says what"
            " they are"
        )
    return ""


def _shows(plane: Plane, coding: MaskCoding) -> bool:
    """Whether a mask has foreground."""
    classes = coding.class_of(plane.histogram.levels)
    return bool(((classes > 0) & (classes != IGNORED)).any())


def _is_full(plane: Plane, coding: MaskCoding) -> bool:
    return bool((coding.class_of(plane.histogram.levels) == 1).all()) and coding.classes == 2


def _require_foreground(planes: Sequence[Plane], coding: MaskCoding) -> None:
    """`UserError` where values above 0 occur and none of them is a class."""
    levels = {int(level) for plane in planes for level in plane.histogram.levels if level > 0}
    classes = {int(index) for index in coding.class_of(np.array(sorted(levels), np.int64))}
    if levels and classes <= {0, IGNORED}:
        raise UserError(
            f"{planes[0].path}: of the values {listed(sorted(levels))} in {len(planes)} masks none"
            " is a class: all would be background or ignored; correct --mask-kind, --class-map or"
            " --ignore-index"
        )


def _of_values(planes: Sequence[Plane], declared: Declared, *, indexed: bool = False) -> MaskCoding:
    """The coding of one value per pixel, as declared or recognised."""
    census = Census(planes, declared.ignore, indexed=indexed)
    if declared.class_map:
        return _of_map(census, declared)
    kind = declared.kind if declared.kind != "auto" else _kind_for(census, declared.classes)
    if kind == "auto":
        coding = recognise(census)
    elif kind == "binary-255":
        coding = _declared_binary_255(census)
    elif kind == "binary-01":
        coding = zero_one(census)
    elif kind == "binary":
        coding = _any_value(census)
    else:
        coding = indices(census, declared.classes, void=255 in census.levels, told=True)
    return _with_classes(coding, census, declared)


def _kind_for(census: Census, classes: int) -> str:
    """Several classes are asked for, and the values are small: class indices."""
    small = census.levels[census.levels != 255]
    drawn = census.inside(census.within(1, 255)).any()
    bound = classes - 1 if 255 in census.levels else max(INDEX_RANGE, classes - 1)
    if classes > 2 and len(small) and drawn and 0 < small[-1] <= bound:
        return "index"
    return "auto"


def _with_classes(coding: MaskCoding, census: Census, declared: Declared) -> MaskCoding:
    """The coding, if it has as many classes as asked for."""
    wanted = declared.classes
    if wanted and coding.kind == "index":
        return indices(census, wanted, void=any(pair == (255, IGNORED) for pair in coding.table))
    if not wanted or coding.classes == wanted:
        return coding
    raise UserError(
        f"--classes {wanted}: the masks hold {listed(census.every_level)}, which is 2 classes;"
        f" expected class indices 0 to {wanted - 1}"
    )


def _declared_binary_255(census: Census) -> MaskCoding:
    if set(census.levels.tolist()) <= {0, 255}:
        files = len(census.planes)
        return MaskCoding("binary-255", 2, f"masks: 0/255 in {files} files", (), THRESHOLD)
    if len(census.levels) == 2 and census.levels[-1] > THRESHOLD >= census.levels[0]:
        return replace(two_values(census), kind="binary-255", table=(), threshold=THRESHOLD)
    return noisy_binary(census)


def _any_value(census: Census) -> MaskCoding:
    """Every value above 0 is foreground."""
    text = f"masks: 0 is background, {listed(census.levels[census.levels > 0])} foreground"
    return MaskCoding("binary", 2, f"{text} in {len(census.planes)} files", (), 0)


def _of_map(census: Census, declared: Declared) -> MaskCoding:
    """The coding that the user spelled out; `UserError` for a value without a class."""
    known = dict(declared.class_map)
    said = {*known, *declared.ignore}
    missing = [level for level in census.levels.tolist() if level not in said]
    if missing:
        rows = census.counts[:, census.levels == missing[0]].ravel() > 0
        raise UserError(
            f"{census.file(rows)}: holds the value {missing[0]}, to which --class-map gives no"
            f" class; add {missing[0]}=CLASS or {missing[0]}=ignore"
        )
    highest = max([0, *(index for index in known.values() if index != IGNORED)])
    classes = max(2, highest + 1, declared.classes)
    pairs = ", ".join(
        f"{value} is {'ignored' if index == IGNORED else f'class {index}'}"
        for value, index in declared.class_map
    )
    text = f"masks: {pairs} in {len(census.planes)} files, {classes} classes"
    return MaskCoding("index", classes, text, declared.class_map)


def _of_colours(files: int, declared: Declared) -> MaskCoding:
    """The coding of masks with one colour for each class."""
    colours = len(declared.colours)
    table = declared.class_map or tuple((index, index) for index in range(colours))
    missing = set(range(colours)) - {value for value, _ in table}
    if missing:
        raise UserError(
            f"--class-map: gives no class to colour {min(missing)} of --mask-colours (they count"
            " from 0)"
        )
    classes = 1 + max([1, *(index for _, index in table if index != IGNORED)])
    if declared.kind not in ("auto", "index") or declared.classes not in (0, classes):
        raise UserError(
            f"--mask-colours: {colours} colours are {classes} classes; leave --mask-kind and"
            " --classes out, or merge colours by --class-map, such as 2=1"
        )
    text = f"masks: class colours in {files} files, {classes} classes"
    return MaskCoding("index", classes, text, table)


def _without(coding: MaskCoding, value: int) -> MaskCoding:
    """The coding with a stored value that does not count."""
    table = (*(pair for pair in coding.table if pair[0] != value), (value, IGNORED))
    return replace(coding, table=table, text=f"{coding.text}; {value} is ignored")


def _files_key(items: Sequence[Item], declared: Declared) -> str:
    """Changes with the files, whatever their order."""
    total = hashlib.blake2b(repr(declared).encode(), digest_size=16)
    for path in sorted(str(path) for item in items for path in item.masks):
        check_open(Path(path))
        try:
            found = os.stat(path)
        except OSError:
            return ""  # the reader says what is wrong
        line = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n"
        total.update(line.encode(errors="surrogateescape"))
    pages = sorted({item.page for item in items})
    total.update(repr(pages).encode())
    return total.hexdigest()
