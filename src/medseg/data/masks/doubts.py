"""What makes the values of a set doubtful, and the lines that ask the user what they are."""

from __future__ import annotations

import numpy as np

from medseg.data.masks.census import BRIGHT, NOISE_LEVELS, NOISE_SHARE, SLIP, Census, listed
from medseg.data.masks.colours import INDEX_RANGE
from medseg.errors import UserError, counted

FEW_VALUES = 8  # for an example
THIN_SHARE = 0.2  # of the pixels inside shapes: with fewer these are lines
SLIP_SHARE = 0.01  # of what is drawn, that a slip does not reach
RARE = 0.05  # of the area of 255, that noise in files without other noise does not reach
MANY = 6  # numbered objects in one mask, from which classes 1, 2, 3, ... are doubted
CHANCE = 0.02  # less likely by chance: the masks number their objects


def refuse_thin_classes(census: Census, low: np.ndarray) -> None:
    """`UserError` for values 1, 2, ... without an inside beside 255: lines, or noise?"""
    values = census.levels[low & ~census.slips()].tolist()
    bright = census.within(BRIGHT, 256)
    if census.within(INDEX_RANGE + 1, 255).any():
        return
    area, solid, white = census.area(low), census.inside(low), census.area(bright)
    thin = (solid == 0) & (area > np.maximum(SLIP, NOISE_SHARE * white))
    if values and values == list(range(1, len(values) + 1)) and thin.any():
        raise unclear(census, int(thin.argmax()))
    all_thin = solid.sum() <= THIN_SHARE * area.sum()
    all_thin &= census.inside(bright).sum() <= THIN_SHARE * white.sum()
    if all_thin and area.sum() > RARE * white.sum():
        raise unclear(census, int(area.argmax()))


def refuse_unlikely(census: Census, values: list[int], keep: np.ndarray) -> None:
    """`UserError` for values that are hardly classes."""
    if census.noise_levels() >= max(NOISE_LEVELS, len(values) // 2) or len(values) > 254:
        worst = int((census.counts > 0).sum(1).argmax())
        raise unclear(census, worst)
    if values[0] != 0:
        raise UserError(
            f"{census.planes[0].path}: holds the values {census.text(0)}, and no mask holds 0;"
            " which value is the background? --class-map VALUE=CLASS ... says it, --classes N takes"
            " them as class indices"
        )
    there = census.counts[:, keep & (census.levels > 0)] > 0
    alone = (there.sum(1) <= 1).all()  # no file shows two classes
    if alone and not census.indexed and values != list(range(len(values))):
        kinds = [there[:, column] for column in range(there.shape[1])]
        raise mixed(census, kinds[0], kinds[-1])
    refuse_soft(census, keep)
    _refuse_numbered(census, there)


def _refuse_numbered(census: Census, there: np.ndarray) -> None:
    """`UserError` for numbered objects; `there` bool [files, values above 0]."""
    most = there.sum(1)
    numbered = (np.diff(there.astype(int), axis=1) <= 0).all() and there[most > 0, 0].all()
    many = numbered and most.max() >= MANY and len(set(most[most > 0].tolist())) > 2
    chance = census.numbering()
    if many or (chance is not None and chance <= CHANCE):
        row = int(most.argmax())
        raise UserError(
            f"{census.planes[row].path}: holds the values 0 to {most.max()}, and every mask numbers"
            " its values from 1: numbered objects or classes? --mask-kind binary takes all of them"
            " as foreground, --mask-kind index as classes"
        )


def numbering_note(census: Census) -> str:
    """A note on classes that may be numbered objects."""
    doubt = census.numbering() is not None
    return "; if these are numbered objects, give --mask-kind binary" if doubt else ""


def refuse_soft(census: Census, keep: np.ndarray) -> None:
    """`UserError` for values that are nowhere but at the edge of a higher one: soft edges."""
    soft = census.soft() & keep
    if not soft.any():
        return
    values = census.levels[keep].tolist()
    between, top = census.levels[soft].tolist(), values[-1]
    row = int((census.area(soft) > 0).argmax())
    hint = "save the masks with hard edges (nearest neighbour)"
    if values == [0, *between, top] and len(values) <= FEW_VALUES:
        pairs = " ".join(f"{value}={int(2 * value > top)}" for value in values)
        hint = f"--class-map {pairs} halves it"
    raise UserError(
        f"{census.planes[row].path}: holds {listed(between)} only as a thin line between lower and"
        f" higher values: the soft edge of a shape, or a class? {hint}, --mask-kind index takes it"
        " as a class"
    )


def refuse_areas_in_contours(census: Census) -> None:
    """`UserError` for lossy masks with areas of small values, and 255 in lines alone."""
    bright = census.within(BRIGHT, 256)
    white, small = census.area(bright).sum(), census.inside(census.within(2, INDEX_RANGE + 1))
    thin = census.inside(bright).sum() <= THIN_SHARE * white
    if thin and white < 2 * small.sum() < 2 * census.inside(census.levels == 0).sum():
        raise unclear(census, int(small.argmax()))


def refuse_rare(census: Census, value: int, keep: np.ndarray) -> None:
    """`UserError` for an odd value of few pixels that are much of the drawing, if little."""
    column = census.counts[:, census.levels == value].sum(1)
    drawn = census.area(keep & (census.levels > 0)).sum()
    if column.sum() > SLIP_SHARE * drawn:
        raise UserError(
            f"{census.file(column > 0)}: holds the value {value} in"
            f" {counted(int(column.max()), 'pixel', 'pixels')}: a slip, or a class?"
            f" --ignore-index {value} leaves it out, --mask-kind index takes it as a"
            " class"
        )


def refuse_beyond(census: Census, keep: np.ndarray, classes: int) -> None:
    """`UserError` for the first mask with a class index of `classes` or more."""
    beyond = keep & (census.levels >= classes)
    if beyond.any():
        rows = census.area(beyond) > 0
        row = int(rows.argmax())
        value = int(census.levels[beyond & (census.counts[row] > 0)][0])
        raise UserError(
            f"{census.planes[row].path}: holds the class index {value}, expected 0 to"
            f" {classes - 1} for {classes} classes (255 is ignored); correct the mask or --classes,"
            f" or --ignore-index {value}"
        )


def no_foreground(census: Census) -> UserError:
    """A set of empty masks."""
    return UserError(
        f"no foreground in {len(census.planes)} masks: every one is empty; check that the masks"
        " belong to the images and how they are coded (0 background, 255 or 1 foreground)"
    )


def mixed(census: Census, one: np.ndarray, other: np.ndarray) -> UserError:
    """Two codings in one set."""
    first, second = int(one.argmax()), int(other.argmax())
    values = census.levels.tolist()[:6]
    example = " ".join(f"{value}={min(at, 1)}" for at, value in enumerate(values))
    return UserError(
        f"{census.planes[first].path} holds {census.text(first)}, {census.planes[second].path}"
        f" holds {census.text(second)}: {one.sum()} masks like the first and {other.sum()} like"
        " the second are two codings in one set; convert them to one (medseg data check --fix), or"
        f" say what each value is: --class-map {example}"
    )


def unclear(census: Census, row: int) -> UserError:
    """Values with more than one meaning."""
    top = int(census.levels[-1])
    if top != 255:
        return UserError(
            f"{census.planes[row].path}: holds the values {census.text(row)}; expected 0 and 255, 0"
            f" and 1, or class indices 0, 1, 2, ...; where {top} marks pixels that do not count,"
            f" give --ignore-index {top}; else --class-map VALUE=CLASS ... says what each is"
        )
    return UserError(
        f"{census.planes[row].path}: holds the values {census.text(row)}; is 255 foreground and the"
        " rest noise (--mask-kind binary-255), are they class indices with 255 ignored (--mask-kind"
        " index), or something else (--class-map VALUE=CLASS ...)?"
    )
