"""`medseg evaluate`: a run's numbers, per image and in three named conventions, with a report."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

import medseg
from medseg import checkpoint
from medseg.checkpoint import Input
from medseg.config import EvaluateConfig
from medseg.console import progress, to_json
from medseg.data.cache import Form, Store, open_store, read_pair
from medseg.data.folder import list_maps, locate, open_dataset
from medseg.data.masks import MaskCoding, survey
from medseg.data.parts import load_dataset
from medseg.data.sample import Dataset, Item
from medseg.data.sealed import check_run
from medseg.errors import UserError
from medseg.evaluation.intervals import headline, left_tail, summary_intervals
from medseg.evaluation.judge import Judged, judge
from medseg.evaluation.lesions import by_size
from medseg.evaluation.measure import measure_image, quantities, row_of, summarise_measured
from medseg.evaluation.protocols import per_image, summarise
from medseg.evaluation.report import Picture, pick, worst_shown, write_report
from medseg.evaluation.stamp import split_stamp, stamp_of_seen
from medseg.files import read_csv, write_csv, write_text
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.prediction.inference import load_network

FILES = ("summary.json", "per_image.csv", "report.html")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Judge a run on a part of a data set; write per_image.csv, summary.json and report.html;
    return the summary.
    """
    if is_predictions(config.run):
        from medseg.evaluation.predictions import evaluate_folder

        return evaluate_folder(config)
    if config.references:
        raise UserError(
            f"--references: {config.run} is a run and brings its own data; name another set by"
            " --data"
        )
    stored = checkpoint.load(config.run)
    run = config.run if config.run.is_dir() else config.run.parent
    if config.split_part in ("test", "all"):
        check_run(run)
    dataset, items = dataset_and_items(config, stored, run)
    folder = out_folder(config, run, dataset)
    accelerator = pick_accelerator(config.accelerator)
    coding = survey(
        items,
        kind=stored["mask_kind"],
        classes=stored["classes"],
        workers=config.workers or cores(),
    )
    logger.info(coding.text)
    summary = judge_part(
        load_network(stored, accelerator),
        items,
        coding,
        checkpoint.input_of(stored),
        folder=folder,
        device=torch.device(accelerator),
        precision=pick_precision(config.precision, accelerator),
        batch_size=config.batch_size,
        threshold=config.threshold,
        about=describe(
            stored,
            checkpoint.find(config.run),
            dataset,
            config.split_part,
            stamp=_stamp(config, stored, run, dataset),
        ),
        config=stored["config"] | ({"workers": config.workers} if config.workers else {}),
        history=read_csv(run / "metrics.csv"),
        show=config.progress,
        temperature=stored.get("temperature", 1.0),
        measuring=measuring(config),
    )
    logger.info(headline(summary))
    logger.info(f"report: {folder / 'report.html'}")
    return summary


def is_predictions(path: Path) -> bool:
    """Whether the path is a folder of images, or of `medseg predict`'s results, and not a run."""
    if not path.is_dir() or any(
        (path / name).exists() for name in ("best.pt", "last.pt", "config.yaml")
    ):
        return False
    return any((path / name).is_dir() for name in ("probabilities", "masks")) or bool(
        list_maps(path)
    )


def measuring(config: EvaluateConfig) -> dict[str, Any] | None:
    """The settings of `measure_image`, or None where only the basic conventions are asked for."""
    return (
        {"spacing": config.spacing, "tolerance": config.tolerance}
        if config.protocols == "all"
        else None
    )


def _stamp(
    config: EvaluateConfig, stored: dict[str, Any], run: Path, dataset: Dataset
) -> dict[str, Any]:
    """The stamp of the run's own split, or of another data set or split that it is judged on."""
    flat = stored["config"]
    if config.data is None and config.split is None:
        return split_stamp(dataset, config.split_part)
    lists = [run / "splits" / f"{part}.txt" for part in ("train", "validation")]
    seen = [
        name
        for file in lists
        if file.exists()
        for name in file.read_text(encoding="utf-8").splitlines()
    ]
    if seen and _same_set(
        config.data or flat["data"], flat["data"], config.data_root or Path(flat["data_root"])
    ):
        return stamp_of_seen(dataset, config.split_part, seen)
    return {
        "verdict": "other",
        "text": (
            f"trained on {flat['data']}, judged on {dataset.name}: whether images are in both is"
            " not known"
        ),
    }


def _same_set(data: str, trained: str, root: Path) -> bool:
    """Whether both names stand for one folder, or for one set of the catalog."""
    try:
        (here, entry), (there, other) = locate(data, root), locate(trained, root)
    except UserError:  # the data of the training are no longer there
        return False
    return here.resolve() == there.resolve() or (entry is not None and entry is other)


def describe(
    stored: dict[str, Any],
    file: Path,
    dataset: Dataset,
    part: str,
    *,
    stamp: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is being judged: the head of summary.json. `stamp` is that of the run's own split unless
    given.
    """
    stamp = stamp or split_stamp(dataset, part)
    flat = stored["config"]
    network = stored["network"]
    words = [network["name"]]
    if network["name"] == "smp":
        words.append(f"{network['decoder']} {network['encoder']}")
    elif network["base_channels"]:
        words.append(str(network["base_channels"]))
    chosen = (
        f"best validation {stored['metric']}"
        if flat["select"] == "best"
        else "last epoch, no selection"
    )
    return {
        "data": dataset.name,
        "split": dataset.split,
        "part": part,
        "model": " ".join(words),
        "stamp": stamp,
        "checkpoint": {
            "file": file.name,
            "epoch": stored["epoch"],
            "selected_by": chosen,
            "score": stored["score"],
        },
        "notes": list(dataset.notes),
    }


def judge_part(
    model: nn.Module,
    items: Sequence[Item],
    coding: MaskCoding,
    given: Input,
    *,
    folder: Path,
    device: torch.device,
    precision: str,
    batch_size: int,
    config: dict[str, Any],
    about: dict[str, Any],
    history: list[dict],
    threshold: float = 0.5,
    show: bool = True,
    temperature: float = 1.0,
    measuring: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge the items at the native size of each mask and write the three files into `folder`;
    returns the summary.

    `config` is the flat config of the run, `about` the head of the summary, `history` the rows of
    metrics.csv. With `measuring`, the settings of `measure_image`, everything else is measured too.
    """
    form = Form(
        given.size,
        given.resize,
        given.channels,
        given.bit_depth,
        native_masks=True,
        ignore_index=config["ignore_index"],
    )
    started = time.perf_counter()
    with progress("decode", show=show) as advance:
        store = open_store(
            items,
            coding,
            form,
            folder=Path(config["cache_dir"]) if config["cache_dir"] else None,
            workers=config["workers"] or cores(),
            progress=advance,
        )
    options = {
        "classes": coding.classes,
        "device": device,
        "precision": precision,
        "threshold": threshold,
        "ignore_index": config["ignore_index"],
        "temperature": temperature,
    }
    measured: dict[int, dict] = {}

    def measure(i: int, *maps: Any) -> None:
        measured[i] = measure_image(*maps, ignore_index=config["ignore_index"], **(measuring or {}))

    with progress("evaluate", show=show) as advance:
        judged = judge(
            model,
            store,
            given,
            batch_size=batch_size,
            progress=advance,
            measure=measure if measuring else None,
            **options,
        )
    more = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "size": list(given.size),
        "resize": given.resize,
        "threshold": threshold,
        "temperature": temperature,
        "precision": precision,
    }
    return write_results(
        folder,
        items,
        coding,
        judged,
        [measured[i] for i in range(len(measured))],
        about=about | more,
        started=started,
        config=config,
        history=history,
        draw=lambda rows: _pictures(model, items, store, coding, given, rows, options),
    )


def write_results(
    folder: Path,
    items: Sequence[Item],
    coding: MaskCoding,
    judged: Judged,
    measured: list[dict],
    *,
    about: dict[str, Any],
    started: float,
    config: dict[str, Any],
    history: list[dict],
    draw: Callable[[list[dict]], dict[str, list[Picture]]],
) -> dict[str, Any]:
    """Write per_image.csv, summary.json and report.html from counts and measurements; returns the
    summary.
    """
    names = [item.name for item in items]
    groups = [item.group for item in items]
    rows = [
        {"name": row["name"], **({"group": group} if any(groups) else {}), **row}
        for row, group in zip(per_image(judged.counts, names), groups, strict=True)
    ]
    if measured:
        rows = [row | row_of(each) for row, each in zip(rows, measured, strict=True)]
    basic = summarise(judged.counts, names)
    further = summarise_measured(measured) if measured else {"protocols": {}}
    summary = {
        **about,
        "n_images": len(items),
        "classes": coding.classes,
        "masks": coding.text,
        **basic,
        **further,
        "protocols": basic["protocols"] | further["protocols"],
        "by_size": by_size(rows),
        "left_tail": left_tail(rows),
        "intervals": summary_intervals(
            judged.counts, groups, rows, quantities(measured) if measured else None
        ),
        "seconds": round(time.perf_counter() - started, 2),
        "medseg": medseg.__version__,
    }
    pictures = draw(rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "per_image.csv", rows)
    write_text(folder / "summary.json", to_json(summary))
    title = f"{about['model']} on {about['data']}, {about['part']}"
    write_report(
        folder / "report.html",
        title=title,
        summary=summary,
        rows=rows,
        history=history,
        pictures=pictures,
        config=config,
        environment=environment(),
    )
    return summary


def _pictures(
    model: nn.Module,
    items: Sequence[Item],
    store: Store,
    coding: MaskCoding,
    given: Input,
    rows: list[dict],
    options: dict[str, Any],
) -> dict[str, list[Picture]]:
    """The best, median and worst images at their own size: decoded and predicted again, they are
    few.
    """
    chosen = pick(rows, worst=worst_shown(rows))
    drawn = draw_images(
        model,
        items,
        store,
        coding,
        given,
        [name for group in chosen.values() for name in group],
        options,
    )
    row_of_name = {row["name"]: row for row in rows}
    return {
        group: [Picture(name, *drawn[name], row_of_name[name]) for name in names]
        for group, names in chosen.items()
    }


def draw_images(
    model: nn.Module,
    items: Sequence[Item],
    store: Store,
    coding: MaskCoding,
    given: Input,
    names: Sequence[str],
    options: dict[str, Any],
) -> dict[str, tuple]:
    """By name: the image uint8 [H, W, 3], its truth and its predicted class map uint8 [H, W];
    `store` holds the items.
    """
    at = {item.name: i for i, item in enumerate(items)}
    keep = sorted(at[name] for name in names)
    masks = judge(
        model, store.subset(keep), given, batch_size=4, keep=range(len(keep)), **options
    ).masks
    return {
        items[i].name: (
            *read_pair(items[i], coding, channels=3, bit_depth=given.bit_depth),
            masks[place],
        )
        for place, i in enumerate(keep)
    }


def environment() -> dict[str, Any]:
    """Versions and hardware, for environment.json and the report."""
    import platform
    from importlib.metadata import version

    packages = (
        "torch",
        "torchvision",
        "timm",
        "segmentation-models-pytorch",
        "lightning-fabric",
        "numpy",
        "opencv-python-headless",
    )
    gpu = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": cores(),
        "gpu": gpu,
        **{name: version(name) for name in packages},
    }


def dataset_and_items(
    config: EvaluateConfig, stored: dict[str, Any], run: Path
) -> tuple[Dataset, list[Item]]:
    """The data set and the images to judge: the run's own, unless another is named."""
    flat = stored["config"]
    root = config.data_root or Path(flat["data_root"])
    if config.data is None and config.split is None:
        dataset = _unchanged(
            load_dataset(
                flat["data"], data_root=root, split=flat["split"], hold_out=flat["hold_out"]
            ),
            run,
        )
    else:
        dataset = open_dataset(config.data or flat["data"], data_root=root, split=config.split)
    return dataset, items_of(dataset, config.split_part)


def items_of(dataset: Dataset, part: str) -> list[Item]:
    """The images of a part, or of all; `UserError` where it has none."""
    if part == "all":
        return [item for items in dataset.parts.values() for item in items]
    items = dataset.parts.get(part, ())
    if not items:
        raise UserError(
            f"--split-part {part}: {dataset.name} ({dataset.split}) has no such part; it has "
            + ", ".join(f"{name} ({len(each)})" for name, each in dataset.parts.items())
        )
    return list(items)


def _unchanged(dataset: Dataset, run: Path) -> Dataset:
    """The data set with a note for each part that is no longer as the run saw it."""
    notes = []
    for part, items in dataset.parts.items():
        file = run / "splits" / f"{part}.txt"
        if file.exists() and sorted(file.read_text(encoding="utf-8").splitlines()) != sorted(
            item.name for item in items
        ):
            notes.append(f"the {part} images have changed since the run was trained: see {file}")
            logger.warning(notes[-1])
    return replace(dataset, notes=(*dataset.notes, *notes))


def out_folder(config: EvaluateConfig, run: Path, dataset: Dataset) -> Path:
    """The folder of the results; results of others in it are not replaced without --overwrite."""
    if config.out is None:
        words = (dataset.name, dataset.split, config.split_part)
        return run / "evaluate" / "-".join(re.sub(r"[^\w.-]+", "_", word) for word in words)
    taken = [name for name in FILES if (config.out / name).exists()]
    if taken and not config.overwrite:
        raise UserError(
            f"--out {config.out}: holds {taken[0]} already; choose another folder or give"
            " --overwrite"
        )
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {config.out}: cannot be made ({error.strerror}); choose a folder you may"
            " write to"
        ) from None
    return config.out
