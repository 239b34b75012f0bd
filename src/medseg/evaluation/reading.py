"""How the masks that a run is evaluated on are read: by their own coding, with the run's classes.

What the masks of the training data were coded as is a fact about those, not about another set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.config import CalibrateConfig, EvaluateConfig
from medseg.data.masks import (
    IGNORED,
    Declared,
    MaskCoding,
    check_items,
    class_index,
    declared_by,
    survey,
)
from medseg.data.sample import Item
from medseg.data.sources.description import Description
from medseg.errors import UserError
from medseg.evaluation.targets import Target
from medseg.hardware import cores
from medseg.runs import Run

Config = EvaluateConfig | CalibrateConfig


def trained_coding(run: Run) -> MaskCoding:
    """The coding of the run's training data; of a checkpoint of before it was kept, its classes."""
    checkpoint = run.checkpoint
    if checkpoint.coding:
        return MaskCoding.from_dict(checkpoint.coding)
    return MaskCoding(checkpoint.mask_kind, checkpoint.classes, "")


def any_coding(classes: int) -> MaskCoding:
    """The coding of training data of which nothing but the number of classes is known."""
    return MaskCoding("binary-255" if classes == 2 else "index", classes, "")


def own_coding(run: Run, target: Target, config: Config) -> MaskCoding:
    """The coding of the run's own data: that of its training, unless options say otherwise.

    Raises `UserError` naming a file that does not fit it.
    """
    if _is_told(config):
        return other_coding(trained_coding(run), target, config, own=True)
    return kept_coding(run, target.items, config.workers or cores())


def kept_coding(run: Run, items: Sequence[Item], workers: int) -> MaskCoding:
    """The coding of the run's training, on other images of its data.

    Raises `UserError` naming a file that does not fit it.
    """
    checkpoint = run.checkpoint
    if not checkpoint.coding:
        kept = run.config.get("ignore_index") or ()
        ignore = tuple(kept) if isinstance(kept, (list, tuple)) else (kept,) if kept != 255 else ()
        kind = Declared(checkpoint.mask_kind, checkpoint.classes, ignore=ignore)
        return survey(items, kind, workers=workers)
    coding = trained_coding(run)
    check_items(items, coding, workers=workers)
    return coding


def coding_for(run: Run, target: Target, config: EvaluateConfig) -> MaskCoding:
    """The coding of what is evaluated, in the classes of the run."""
    if config.data is None or target.is_own:
        return own_coding(run, target, config)
    return other_coding(trained_coding(run), target, config)


def other_coding(
    trained: MaskCoding, target: Target, config: Config, *, own: bool = False
) -> MaskCoding:
    """The coding of another data set, its classes mapped to those of training, `trained`.

    Where the data are the run's `own`, not every class must show. Raises `UserError` where the
    classes differ and nobody said how.
    """
    workers = config.workers or cores()
    description, classes = target.dataset.description, trained.classes
    by_value = [word for word in config.class_map if word.partition("=")[0].strip().isdigit()]
    by_name = [word for word in config.class_map if word not in by_value]
    if config.classes not in (0, classes):
        raise UserError(
            f"--classes {config.classes}: the run knows {classes} classes (0 to {classes - 1});"
            " --class-map VALUE=CLASS ... says which value is which class of the run"
        )
    if by_value:
        told = replace(config, class_map=tuple(by_value))
        declared = declared_by(told, Description(classes=trained.names), classes)
        return _within(survey(target.items, declared, workers=workers), classes)
    if config.classes and not by_name:
        declared = declared_by(config, replace(description, classes=trained.names))
        return survey(target.items, declared, workers=workers)
    plain = replace(config, class_map=(), classes=0)
    found = survey(target.items, declared_by(plain, description), workers=workers)
    if by_name or (found.names and trained.names):
        return _by_names(found, trained, by_name)
    if found.classes == classes == 2:
        return found
    return _by_values(target, found, trained, workers, own=own)


def _is_told(config: Config) -> bool:
    """Whether an option says how masks are read."""
    return config.mask_kind != "auto" or bool(
        config.class_map or config.ignore_index or config.mask_colours or config.classes
    )


def _within(coding: MaskCoding, classes: int) -> MaskCoding:
    if coding.classes > classes:
        raise UserError(
            f"--class-map: names the class {coding.classes - 1}, the run knows {classes} classes"
            f" (0 to {classes - 1})"
        )
    return replace(coding, classes=classes)


def _by_names(found: MaskCoding, trained: MaskCoding, words: list[str]) -> MaskCoding:
    """The coding of another set, its classes named as the run's, or mapped by name."""
    given: dict[str, int] = {}
    for word in words:
        name, _, target = word.partition("=")
        if name.strip() not in found.names:
            raise UserError(
                f"--class-map {word}: the data set has no class {name.strip()}; expected one of"
                f" {', '.join(found.names) or 'its stored values'}"
            )
        given[name.strip()] = class_index(target.strip(), trained.names, f"--class-map {word}")
    new: dict[int, int] = {IGNORED: IGNORED}
    for index, name in enumerate(found.names):
        if name in given:
            new[index] = given[name]
        elif name in trained.names:
            new[index] = trained.names.index(name)
        elif index == 0:
            new[index] = 0
        else:
            raise UserError(
                f"the data set's class {name} is none of the run's ({', '.join(trained.names)});"
                f" --class-map {name}=CLASS says which it is, or {name}=ignore"
            )
    pairs = found.table or ((0, 0), (255, 1))
    table = tuple((value, new[index]) for value, index in pairs)
    mapped = ", ".join(
        f"{found.names[old]} is {'ignored' if index == IGNORED else f'class {index}'}"
        for old, index in new.items()
        if old != IGNORED
    )
    text = f"{found.text}; by name: {mapped}"
    if found.threshold is not None and new[0] == 0 and new[1] == 1:
        return replace(found, classes=trained.classes, names=trained.names, text=text)
    return replace(
        found, classes=trained.classes, names=trained.names, table=table, threshold=None, text=text
    )


def _other_plane(found: MaskCoding, trained: MaskCoding) -> bool:
    """Whether values of the two cannot be compared; indices of a palette are values."""
    planes = {found.layout.plane, trained.layout.plane}
    return len(planes) > 1 and planes != {"grey", "index"}


def _by_values(
    target: Target, found: MaskCoding, trained: MaskCoding, workers: int, *, own: bool
) -> MaskCoding:
    """The coding of a set whose stored values are among the run's; else `UserError`."""
    table = trained.table or tuple((index, index) for index in range(trained.classes))
    known = dict(table)
    new = [pair for pair in found.table or ((0, 0), (255, 1)) if pair[0] not in known]
    ignored = tuple(pair for pair in new if pair[1] == IGNORED)  # what --ignore-index says
    strange = len(new) > len(ignored)
    alike = trained.classes > 2 and not strange and not _other_plane(found, trained)
    alike &= found.threshold is None
    if not alike or not (own or found.classes == trained.classes):
        values = [value for value, index in found.table if index != IGNORED] or [0, 255]
        example = " ".join(
            f"{value}={min(i, trained.classes - 1)}" for i, value in enumerate(values[:4])
        )
        as_they_are = (
            f", or --classes {trained.classes} if they are the run's indices" if alike else ""
        )
        raise UserError(
            f"{target.dataset.name}: its masks hold {found.classes} classes"
            f" ({found.text.removeprefix('masks: ')}), the run was trained on {trained.classes}"
            f" ({trained.text.removeprefix('masks: ') or trained.kind}); say which value is which"
            f" class of the run, such as --class-map {example}{as_they_are}"
        )
    declared = Declared("index", trained.classes, (*table, *ignored))
    coding = survey(target.items, declared, workers=workers)
    return replace(coding, names=trained.names)
