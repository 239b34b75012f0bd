"""`medseg evaluate`: a run's numbers, per image and in three named conventions, with a report."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
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
from medseg.data.folder import open_dataset
from medseg.data.groups import leak_stamp, stamp_of
from medseg.data.masks import MaskCoding, survey
from medseg.data.parts import load_dataset
from medseg.data.sample import Dataset, Item
from medseg.data.splits import read_split
from medseg.errors import UserError
from medseg.evaluation.judge import judge
from medseg.evaluation.protocols import per_image, summarise
from medseg.evaluation.report import Picture, pick, write_report
from medseg.files import read_csv, write_csv, write_text
from medseg.hardware import cores, pick_accelerator, pick_precision
from medseg.prediction.inference import load_network

FILES = ("summary.json", "per_image.csv", "report.html")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Judge a run on a part of a data set; write per_image.csv, summary.json and report.html; return the summary."""
    stored = checkpoint.load(config.run)
    run = config.run if config.run.is_dir() else config.run.parent
    dataset, items = _items(config, stored, run)
    folder = _out(config, run, dataset)
    stamp = _stamp(config, stored, run, dataset, items)
    accelerator = pick_accelerator(config.accelerator)
    coding = survey(items, kind=stored["mask_kind"], classes=stored["classes"], workers=config.workers or cores())
    logger.info(coding.text)
    summary = judge_part(
        load_network(stored, accelerator), items, coding,
        checkpoint.input_of(stored), folder=folder, device=torch.device(accelerator),
        precision=pick_precision(config.precision, accelerator), batch_size=config.batch_size, threshold=config.threshold,
        about=describe(stored, checkpoint.find(config.run), dataset, config.split_part, stamp),
        config=stored["config"] | ({"workers": config.workers} if config.workers else {}),
        history=read_csv(run / "metrics.csv"), show=config.progress)
    logger.info(f"report: {folder / 'report.html'}")
    return summary


def describe(stored: dict[str, Any], file: Path, dataset: Dataset, part: str, leaky: str) -> dict[str, Any]:
    """What is being judged: the head of summary.json. `leaky` is the stamp of a split that leaks, or an empty text."""
    if leaky:
        logger.warning(f"{part}: {leaky}")
    flat = stored["config"]
    network = stored["network"]
    words = [network["name"]]
    if network["name"] == "smp":
        words.append(f"{network['decoder']} {network['encoder']}")
    elif network["base_channels"]:
        words.append(str(network["base_channels"]))
    chosen = f"best validation {stored['metric']}" if flat["select"] == "best" else "last epoch, no selection"
    return {"data": dataset.name, "split": dataset.split, "part": part, "model": " ".join(words),
            "checkpoint": {"file": file.name, "epoch": stored["epoch"], "selected_by": chosen, "score": stored["score"]},
            "leaky": leaky, "notes": list(dataset.notes)}


def judge_part(model: nn.Module, items: Sequence[Item], coding: MaskCoding, given: Input, *, folder: Path,
               device: torch.device, precision: str, batch_size: int, config: dict[str, Any], about: dict[str, Any],
               history: list[dict], threshold: float = 0.5, show: bool = True) -> dict[str, Any]:
    """Judge the items at the native size of each mask and write the three files into `folder`; returns the summary.

    `config` is the flat config of the run, `about` the head of the summary, `history` the rows of metrics.csv.
    """
    form = Form(given.size, given.resize, given.channels, given.bit_depth, native_masks=True,
                ignore_index=config["ignore_index"])
    started = time.perf_counter()
    with progress("decode", show=show) as advance:
        store = open_store(items, coding, form, folder=Path(config["cache_dir"]) if config["cache_dir"] else None,
                           workers=config["workers"] or cores(), progress=advance)
    options = {"classes": coding.classes, "device": device, "precision": precision, "threshold": threshold,
               "ignore_index": config["ignore_index"]}
    with progress("evaluate", show=show) as advance:
        judged = judge(model, store, given, batch_size=batch_size, progress=advance, **options)
    names = [item.name for item in items]
    rows = per_image(judged.counts, names)
    summary = {**about, "n_images": len(items), "classes": coding.classes, "masks": coding.text,
               "parameters": sum(p.numel() for p in model.parameters()), "size": list(given.size), "resize": given.resize,
               "threshold": threshold, "precision": precision, **summarise(judged.counts, names),
               "seconds": round(time.perf_counter() - started, 2), "medseg": medseg.__version__}
    pictures = _pictures(model, items, store, coding, given, rows, options)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "per_image.csv", rows)
    write_text(folder / "summary.json", to_json(summary))
    title = f"{about['model']} on {about['data']}, {about['part']}"
    write_report(folder / "report.html", title=title, summary=summary, rows=rows, history=history, pictures=pictures,
                 config=config, environment=environment())
    return summary


def _pictures(model: nn.Module, items: Sequence[Item], store: Store, coding: MaskCoding, given: Input, rows: list[dict],
              options: dict[str, Any]) -> dict[str, list[Picture]]:
    """The best, median and worst images at their own size: decoded and predicted again, they are few."""
    chosen = pick(rows)
    at = {item.name: i for i, item in enumerate(items)}
    keep = {at[name] for group in chosen.values() for name in group}
    masks = judge(model, store.subset(sorted(keep)), given, batch_size=4, keep=range(len(keep)), **options).masks
    predicted = dict(zip(sorted(keep), (masks[i] for i in range(len(keep))), strict=True))

    def picture(name: str) -> Picture:
        image, truth = read_pair(items[at[name]], coding, channels=3, bit_depth=given.bit_depth)
        return Picture(name, image, truth, predicted[at[name]], rows[at[name]])

    return {group: [picture(name) for name in group_names] for group, group_names in chosen.items()}


def environment() -> dict[str, Any]:
    """Versions and hardware, for environment.json and the report."""
    import platform
    from importlib.metadata import version

    packages = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "lightning-fabric", "numpy",
                "opencv-python-headless")
    gpu = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"medseg": medseg.__version__, "python": platform.python_version(), "system": platform.system(),
            "machine": platform.machine(), "cores": cores(), "gpu": gpu, **{name: version(name) for name in packages}}


def _items(config: EvaluateConfig, stored: dict[str, Any], run: Path) -> tuple[Dataset, list[Item]]:
    """The data set and the images to judge: the run's own, unless another is named."""
    flat = stored["config"]
    root = config.data_root or Path(flat["data_root"])
    if config.data is None and config.split is None:
        dataset = _unchanged(load_dataset(flat["data"], data_root=root, split=flat["split"], hold_out=flat["hold_out"]), run)
    else:
        dataset = open_dataset(config.data or flat["data"], data_root=root, split=config.split)
    if config.split_part == "all":
        return dataset, [item for part in dataset.parts.values() for item in part]
    items = dataset.parts.get(config.split_part, ())
    if not items:
        raise UserError(f"--split-part {config.split_part}: {dataset.name} ({dataset.split}) has no such part; it has "
                        + ", ".join(f"{name} ({len(part)})" for name, part in dataset.parts.items()))
    return dataset, list(items)


def _stamp(config: EvaluateConfig, stored: dict[str, Any], run: Path, dataset: Dataset, items: Sequence[Item]) -> str:
    """The leak stamp: by the run's own split, or, where another split of its data is judged, by the images that it saw."""
    if config.data is None and config.split is None:
        return stamp_of(dataset, config.split_part)
    if config.split_part not in ("validation", "test") or not (run / "splits").is_dir() or (
            config.data not in (None, stored["config"]["data"])):
        return ""
    lists = read_split(run / "splits")
    seen = {name for part in ("train", "validation") for name in lists.get(part, ())}
    return leak_stamp(items, [item for part in dataset.parts.values() for item in part if item.name in seen])


def _unchanged(dataset: Dataset, run: Path) -> Dataset:
    """The data set with a note for each part that is no longer as the run saw it."""
    notes = []
    for part, items in dataset.parts.items():
        file = run / "splits" / f"{part}.txt"
        if file.exists() and sorted(file.read_text(encoding="utf-8").splitlines()) != sorted(item.name for item in items):
            notes.append(f"the {part} images have changed since the run was trained: see {file}")
            logger.warning(notes[-1])
    return replace(dataset, notes=(*dataset.notes, *notes))


def _out(config: EvaluateConfig, run: Path, dataset: Dataset) -> Path:
    """The folder of the results; results of others in it are not replaced without --overwrite."""
    if config.out is None:
        words = (dataset.name, dataset.split, config.split_part)
        return run / "evaluate" / "-".join(re.sub(r"[^\w.-]+", "_", word) for word in words)
    taken = [name for name in FILES if (config.out / name).exists()]
    if taken and not config.overwrite:
        raise UserError(f"--out {config.out}: holds {taken[0]} already; choose another folder or give --overwrite")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {config.out}: cannot be made ({error.strerror}); choose a folder you may write to") from None
    return config.out
