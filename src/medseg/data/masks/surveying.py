"""How the masks of a set are coded: one function for training, evaluation, checks and repairs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from medseg.data.masks.coding import IGNORED, THRESHOLD, MaskCoding, expected
from medseg.data.masks.declared import Declared, with_names
from medseg.data.masks.facts import FileFacts, look_at
from medseg.data.masks.layout import about_layout, choose_layout, plane_of
from medseg.data.masks.recognise import (
    SLIP,
    Census,
    Plane,
    indices,
    listed,
    noisy_binary,
    recognise,
    two_values,
    zero_one,
)
from medseg.data.sample import Item
from medseg.data.sealed import check_open
from medseg.errors import UserError

AUTO = Declared()
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
        jobs = [(path, item.page) for item in items for path in item.masks]
        with ThreadPoolExecutor(workers) as pool:
            files = list(pool.map(lambda job: look_at(*job), jobs))
        coding = coding_of(files, declared)
        if key:
            _KNOWN[key] = coding
    return coding


def check_items(items: Sequence[Item], coding: MaskCoding, *, workers: int = 4) -> None:
    """`UserError` naming a file that a coding, found on other files, does not read rightly."""
    jobs = [(path, item.page) for item in items for path in item.masks]
    with ThreadPoolExecutor(workers) as pool:
        files = list(pool.map(lambda job: look_at(*job), jobs))
    if coding.layout.plane == "colours":
        return  # each file is asked when it is read
    planes = [Plane(facts.path, plane_of(facts, coding.layout), facts.lossy) for facts in files]
    for plane in planes:
        problem = misread(plane, coding, Declared(coding.kind))
        if problem:
            raise UserError(f"{plane.path}: {problem}")


def coding_of(files: Sequence[FileFacts], declared: Declared = AUTO) -> MaskCoding:
    """`survey`, of files that have been looked at."""
    layout = choose_layout(files, declared.colours)
    planes = [Plane(facts.path, plane_of(facts, layout), facts.lossy) for facts in files]
    if layout.plane == "colours":
        coding = _of_colours(len(files), declared)
    else:
        coding = _of_values(planes, declared)
    coding = replace(coding, layout=layout)
    for value in declared.ignore:
        coding = _without(coding, value)
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
    for plane in planes:
        problem = misread(plane, coding, declared)
        if problem:
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
        return f"holds the value {value}, expected {expected(coding)}"
    drawn = histogram.levels > 0
    area, inside = histogram.counts[drawn], histogram.solid[drawn]
    if not drawn.any() or (area.sum() <= SLIP and not inside.any()):
        return ""
    if (classes[drawn] == 0).all() and coding.threshold is not None:
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


def _is_full(plane: Plane, coding: MaskCoding) -> bool:
    return bool((coding.class_of(plane.histogram.levels) > 0).all()) and coding.classes == 2


def _of_values(planes: Sequence[Plane], declared: Declared) -> MaskCoding:
    """The coding of one value per pixel, as declared or recognised."""
    census = Census(planes, declared.ignore)
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
        coding = indices(census, declared.classes, void=255 in census.levels)
    return _with_classes(coding, census, declared)


def _kind_for(census: Census, classes: int) -> str:
    """Several classes are asked for, and the values are small: class indices."""
    small = census.levels[census.levels != 255]
    if classes > 2 and len(small) and small[-1] < classes and small[-1] > 0:
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
    missing = [level for level in census.levels.tolist() if level not in known]
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
    classes = len(declared.colours)
    table = tuple((index, index) for index in range(classes))
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
