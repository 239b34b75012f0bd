"""`medseg export RUN`: one file that other runtimes run, and the proof that it is the run's."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor, nn

from medseg.config import EvaluateConfig, ExportConfig, make
from medseg.console import print_table, progress, to_json
from medseg.data.sample import Item
from medseg.data.sources.catalog import CATALOG
from medseg.errors import UserError
from medseg.evaluation.evaluate import model_text
from medseg.evaluation.reading import coding_for
from medseg.evaluation.targets import target_of
from medseg.export import formats
from medseg.export.graph import BareNetwork, ImageToMask
from medseg.export.parity import Sample, compare, latency, read_item, verdict
from medseg.export.quantise import layers, quantise
from medseg.export.sensitivity import by_sensitivity, check_half
from medseg.files import results_folder, write_text
from medseg.inference.exported import FORMATS, Card, is_exported, library
from medseg.inference.predictor import Predictor
from medseg.runs import Run

SUFFIX = {name: suffix for suffix, name in FORMATS.items()}
LIBRARIES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch": (),
}
OUTPUTS = ("mask", "mask,probability")
EXAMPLE = (2, 288, 384)  # images, height and width while a graph is made
TIMED = 30  # images by which the float32 file is timed
FEW = 30  # images, below which an interval covers less than it claims
PROBES = 8  # images by which activations are looked at


@dataclass(frozen=True)
class Source:
    """What is exported: the run, its predictor in float32, and the images that prove the file."""

    run: Run
    predictor: Predictor
    sample: Sample
    config: ExportConfig

    @property
    def network(self) -> nn.Module:
        """A network of its own for each graph, since float16 changes it."""
        return self.run.network("cpu")

    def probes(self) -> list[Tensor]:
        """A few inputs of the network, as `inputs` gives them."""
        return self.inputs([read_item(self.predictor, each) for each in self.sample.items[:PROBES]])

    def inputs(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Images uint8 [H, W, C] as normalised inputs of the network, float32 [1, C, h, w]."""
        preprocessing = self.predictor.preprocessing
        fitted = (torch.from_numpy(preprocessing.fit(image))[None] for image in images)
        return [preprocessing.normalise(each) for each in fitted]


def export(config: ExportConfig) -> dict[str, Any]:
    """Write the file, compare it with the run, and keep it if the two give the same masks.

    Returns what parity.json holds: {"file", "format", "precision", ...} of `parity.compare`, and
    "failed", which is empty or says which limit is missed; then no file is left.
    """
    _check(config)
    run = Run.open(config.run)
    names = _names(config)
    folder = results_folder(config.out, [*names, "parity.json"], overwrite=config.overwrite)
    predictor = Predictor.load(config.run, accelerator="cpu", precision="fp32")
    source = Source(run, predictor, _sample(run, config), config)
    card = _card(source)
    with _writing(folder) as half:
        found, about = _write_and_compare(source, card, half / names[0])
        if config.precision != "fp32":
            found["latency_ms"]["fp32"] = _latency_of_fp32(source, card, half)
        size = sum((half / name).stat().st_size for name in names)
        if not found["failed"]:
            for name in names:
                os.replace(half / name, folder / name)
    result = {
        "file": str(folder / names[0]),
        "format": config.format,
        "precision": config.precision,
        **found,
        "bytes": size,
        "medseg": card.medseg,
        **about,
    }
    if not found["failed"] or not (folder / names[0]).exists():  # an earlier file keeps its own
        write_text(folder / "parity.json", to_json(result))
    _say(result)
    return result


def show(result: dict[str, Any], config: ExportConfig) -> None:
    """Print what parity.json holds as a table."""
    dice, latency = result["dice"], result["latency_ms"]
    rows = [
        {
            "": name,
            "Dice": f"{dice[name]:.4f}",
            "foreground": f"{result['foreground'][name]:.4f}",
            "ms per image": f"{latency[name]:.1f}",
        }
        for name in ("run", "file")
    ]
    print_table(f"{result['images']} images of {result['data']}", rows)


def _check(config: ExportConfig) -> None:
    """`UserError` for options that do not go together, and for what is not installed."""
    if is_exported(config.run):
        raise UserError(f"{config.run}: is an exported file; give the run that it came from")
    if config.outputs not in OUTPUTS:
        raise UserError(f"--outputs {config.outputs}: expected {' or '.join(OUTPUTS)}")
    if config.raw and config.outputs != "mask":
        raise UserError("--outputs: the file of --raw gives logits; leave out one of the two")
    if config.precision == "int8" and config.format == "torch":
        raise UserError("--precision int8: for --format onnx and openvino; torch takes fp32, fp16")
    for name in LIBRARIES[config.format] + (("nncf",) if config.precision == "int8" else ()):
        library(name)


def _names(config: ExportConfig) -> list[str]:
    """The files of a format: the first is the one that is opened."""
    first = f"model{SUFFIX[config.format]}"
    return [first, "model.bin"] if config.format == "openvino" else [first]


def _sample(run: Run, config: ExportConfig) -> Sample:
    """The images on which file and run are compared: at most --parity-images, evenly taken."""
    other = config.parity_data is not None
    asked = {
        "run": config.run,
        "data": config.parity_data if other else config.data,
        "data_root": config.data_root,
        "split_part": "all" if other else "validation",
        "workers": config.workers,
    }
    wanted = make(EvaluateConfig, {key: each for key, each in asked.items() if each is not None})
    target = target_of(run, wanted)
    coding = coding_for(run, target, wanted)
    items = _spread(target.items, config.parity_images)
    if len(items) < 2:
        raise UserError(
            f"{target.dataset.name} ({target.part}): holds {len(items)} image; parity is shown on"
            " at least 2; give --parity-data NAME|PATH"
        )
    logger.info(f"parity: {len(items)} of {len(target.items)} images of {target.dataset.name}")
    return Sample(items, coding, f"{target.dataset.name}, {target.part}")


def _card(source: Source) -> Card:
    """What the file will say about itself."""
    checkpoint, config = source.run.checkpoint, source.config
    data, remembered = Path(source.run.config["data"]).name, source.run.remembered()
    return Card(
        preprocessing=checkpoint.preprocessing,
        classes=checkpoint.classes,
        outputs=("logits",) if config.raw else tuple(config.outputs.split(",")),
        class_names=checkpoint.class_names,
        temperature=checkpoint.temperature,
        threshold=config.threshold,
        precision=config.precision,
        model=model_text(checkpoint.network),
        parameters=source.predictor.backend.parameters,
        trained_on=data,
        licence_note=_licence_note(data),
        coding=checkpoint.coding,
        seen={part: list(remembered.images(part)) for part in ("train", "validation")},
    )


def _licence_note(data: str) -> str:
    """Under what terms the weights may be used, as far as their training images decide it."""
    for name, entry in CATALOG.items():
        if data in (name, entry.folder, *entry.also):
            return f"trained on {entry.folder}: {entry.licence}"
    return f"trained on {data}: its terms hold for the weights too"


def _write_and_compare(
    source: Source, card: Card, path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the file at `path` and compare it with the run.

    Returns what was found, "failed" among it, and for int8 which layers are. Layers that suffer
    most from eight bits are left in float32, twice as many each time, while the gate fails.
    """
    if card.precision == "int8":
        return _quantised(source, _model(source, card), card, path)
    if card.precision == "fp16":
        check_half(source.network, source.probes())
    _write_graph(source, card, path)
    return _compare(source, path), {}


def _write_graph(source: Source, card: Card, path: Path) -> None:
    """The file of the run in floats."""
    if source.config.format == "torch":
        half = card.precision == "fp16"
        formats.write_torch(_program(source, card, half=half), card, path)
    else:
        _write(_model(source, card), card, path)


def _model(source: Source, card: Card) -> Any:
    """The run as a model of ONNX or OpenVINO; OpenVINO makes its float16 while it writes."""
    config = source.config
    is_openvino = config.format == "openvino"
    program = _program(source, card, half=card.precision == "fp16" and not is_openvino)
    model = formats.onnx_model(program, card, opset=config.opset, ir=config.ir)
    return formats.openvino_model(model) if is_openvino else model


def _quantised(
    source: Source, model: Any, card: Card, path: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    images = _calibration_images(source)
    order: list[str] = []
    keep = 0
    while True:
        small = quantise(model, images, keep=order[:keep])
        in_int8, others = layers(small)
        about = {
            "calibration_images": len(images),
            "int8_layers": len(in_int8),
            "float_layers": sorted(others),
        }
        _write(small, replace(card, quantised=about), path)
        found = _compare(source, path)
        if not found["failed"] or (order and 2 * keep >= len(order)):
            return found, {"quantised": about}
        if not order:
            order = by_sensitivity(source.network, source.probes())
        keep = max(1, 2 * keep)
        logger.info(f"{found['failed']}; leaving in float32: {', '.join(order[:keep])}")


def _write(model: Any, card: Card, path: Path) -> None:
    if path.suffix == ".onnx":
        formats.write_onnx(model, card, path)
    else:
        formats.write_openvino(model, card, path)


def _program(source: Source, card: Card, *, half: bool) -> torch.export.ExportedProgram:
    """The graph of the run, captured."""
    preprocessing = card.preprocessing
    if source.config.raw:
        graph = BareNetwork(source.network, half=half)
        example = torch.zeros(2, preprocessing.channels, *preprocessing.size)
        return formats.capture(graph.eval(), example, raw=True)
    graph = ImageToMask(
        source.network,
        preprocessing,
        classes=card.classes,
        temperature=card.temperature,
        threshold=card.threshold,
        probability="probability" in card.outputs,
        half=half,
    )
    return formats.capture(
        graph.eval(), torch.zeros(*EXAMPLE, preprocessing.channels, dtype=torch.uint8)
    )


def _latency_of_fp32(source: Source, card: Card, folder: Path) -> float:
    """Milliseconds per image of the same graph in float32 and the same format."""
    exact = folder / "fp32"
    exact.mkdir()
    path = exact / f"model{SUFFIX[source.config.format]}"
    _write_graph(source, replace(card, precision="fp32"), path)
    items = source.sample.items[:TIMED]
    return latency(Predictor.load(path), items, threshold=source.config.threshold)


def _compare(source: Source, path: Path) -> dict[str, Any]:
    """`parity.compare` of the written file with the run, and the verdict."""
    config = source.config
    file = Predictor.load(path)
    with progress("compare", show=config.progress) as advance:
        found = compare(
            source.predictor, file, source.sample, threshold=config.threshold, progress=advance
        )
    result = {"failed": verdict(found, config.precision)} | found
    if config.format == "openvino":
        result |= _in_bfloat16(source, path)
    return result


def _in_bfloat16(source: Source, path: Path) -> dict[str, Any]:
    """What OpenVINO's default arithmetic costs on CPUs that have bfloat16; empty on others."""
    try:
        file = Predictor.load(path, precision="bf16")
    except UserError:  # it refuses some networks where the CPU lacks the instructions
        return {}
    threshold = source.config.threshold
    found = compare(source.predictor, file, source.sample, threshold=threshold, sizes=False)
    keys = ("differing_share", "dice", "latency_ms")
    return {"in_bfloat16": {key: found[key] for key in keys}}


def _calibration_images(source: Source) -> list[np.ndarray]:
    """Training images by which the ranges of activations are set, as inputs of the graph."""
    config, predictor = source.config, source.predictor
    dataset = source.run.dataset(config.data, config.data_root)
    items = _spread(dataset.parts.get("train", ()), config.calibration_images)
    if not items:
        raise UserError(
            f"--precision int8: {dataset.name} has no training images, by which the ranges of"
            " activations are set; say where they lie now with --data"
        )
    logger.info(f"calibration: {len(items)} training images of {dataset.name}")
    images = [read_item(predictor, item) for item in items]
    if not config.raw:
        return images
    return [each[0].numpy() for each in source.inputs(images)]


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of the items, evenly taken."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


@contextmanager
def _writing(folder: Path) -> Iterator[Path]:
    """A folder beside the final names for what is not proven yet; it is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as half:
            yield Path(half)
    except OSError as error:
        raise UserError(
            f"--out {folder}: cannot be written ({error.strerror or error}); make room or choose"
            " another folder"
        ) from None


def _say(result: dict[str, Any]) -> None:
    """What became of the export, in a line or two."""
    if result["failed"]:
        logger.error(f"{result['precision']} {result['format']}: {result['failed']}; no file left")
        return
    size = result["bytes"] / 2**20
    logger.info(
        f"{result['file']}: {size:.1f} MB; {result['differing']} of {result['pixels']} pixels"
        f" differ from the run's, Dice {result['dice']['difference']:+.4f}"
    )
    if "in_bfloat16" in result:
        share, dice = (result["in_bfloat16"][key] for key in ("differing_share", "dice"))
        logger.info(
            f"in bfloat16, OpenVINO's default where the CPU has it: {share:.1e} of the pixels"
            f" differ, Dice {dice['difference']:+.4f}; INFERENCE_PRECISION_HINT f32 prevents it"
        )
    if result["precision"] != "fp32" and result["images"] < FEW:
        logger.warning(
            f"{result['images']} images say little of what {result['precision']} costs; more of"
            " them by --parity-data NAME|PATH"
        )
    taken = result["latency_ms"]
    others = {"run": "the run in float32", "fp32": f"the same {result['format']} file in float32"}
    for key, name in others.items():
        if taken["file"] > taken.get(key, math.inf):
            logger.warning(
                f"slower than {name} here: {taken['file']:.1f} ms per image, {taken[key]:.1f} there"
            )
