"""Exported files as a way to predict: .onnx, .xml with its .bin, and .pt2.

Each takes uint8 images and gives masks, or is a bare network that takes normalised images and gives
logits. What it is it says itself, in a card that `medseg export` wrote into it.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.errors import UserError
from medseg.preprocessing import Preprocessing
from medseg.version import __version__

FORMATS = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}
KEY = "medseg"  # of the card among a file's metadata
CARD_VERSION = 1
STEADY = 16  # images of one shape after another, from which OpenVINO is made for that shape
CERTAIN = 20.0  # the margin of a file that gives masks only
EXTRA = "pip install 'medseg[export]'"

Session = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Card:
    """What an exported file says about itself.

    `outputs` is ("mask",), ("mask", "probability") or, of a bare network, ("logits",). `seen` holds
    the digests of the images of train and validation, by which an evaluation notices that it is
    given one of them. `quantised` says how an int8 file was made.
    """

    preprocessing: Preprocessing
    classes: int
    outputs: tuple[str, ...] = ("mask",)
    class_names: tuple[str, ...] = ()
    temperature: float = 1.0
    threshold: float = 0.5
    precision: str = "fp32"
    model: str = ""
    parameters: int = 0
    trained_on: str = ""
    licence_note: str = ""
    coding: dict[str, Any] | None = None
    seen: dict[str, list[str]] = field(default_factory=dict)
    quantised: dict[str, Any] | None = None
    medseg: str = __version__
    card: int = CARD_VERSION

    def to_json(self) -> str:
        """As one line for a file's metadata."""
        plain = asdict(self) | {"preprocessing": self.preprocessing.to_dict()}
        return json.dumps(plain, separators=(",", ":"))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Card:
        """What `to_json` wrote, once it is read as JSON. Raises KeyError, TypeError, ValueError."""
        if plain.get("card", CARD_VERSION) > CARD_VERSION:
            raise ValueError(f"written by a newer medseg, {plain.get('medseg')}; update medseg")
        known = {each.name for each in fields(cls)}
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in plain.items()
            if key in known
        }
        return cls(
            **values | {"preprocessing": Preprocessing.from_dict(dict(plain["preprocessing"]))}
        )


@dataclass(frozen=True)
class ExportedBackend:
    """An exported file as a `Backend`. One with its preprocessing inside takes native images."""

    session: Session
    card: Card
    file: Path

    @property
    def device(self) -> torch.device:
        """Where batches are wanted: these runtimes take arrays."""
        return torch.device("cpu")

    @property
    def precision(self) -> str:
        """Of the file's weights and arithmetic."""
        return self.card.precision

    @property
    def is_raw(self) -> bool:
        """Whether it is a bare network."""
        return self.card.outputs == ("logits",)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is left to do with an image before the file takes it."""
        if self.is_raw:
            return self.card.preprocessing
        return replace(self.card.preprocessing, resize="native-crop")

    @property
    def trained_preprocessing(self) -> Preprocessing:
        """What happens to an image altogether."""
        return self.card.preprocessing

    @property
    def gives_probability(self) -> bool:
        """Whether `logits` say more than the class of each pixel."""
        return self.card.outputs != ("mask",)

    @property
    def parameters(self) -> int:
        """How many the network has; 0 where nobody says."""
        return self.card.parameters

    @property
    def temperature(self) -> float:
        """What is left to divide `logits` by."""
        return self.card.temperature if self.is_raw else 1.0

    def decision(self, threshold: float) -> float:
        """The file's own threshold where a command says 0.5, which is the default, else that one.

        Raises `UserError` for another threshold where the file gives masks only.
        """
        own = self.card.threshold
        if self.is_raw or self.card.classes > 2 or threshold == own:
            return threshold
        if threshold == 0.5:
            return own
        if "probability" not in self.card.outputs:
            raise UserError(
                f"--threshold {threshold:g}: {self.file} gives masks, made at the threshold"
                f" {own:g}; export it with --outputs mask,probability, or at that threshold"
            )
        return threshold

    def masks(self, batch: np.ndarray, threshold: float) -> np.ndarray | None:
        """The masks uint8 [B, H, W] as they come out of the file; None where there are none.

        There are none for another threshold than the file's own.
        """
        if self.is_raw or self.decision(threshold) != self.card.threshold:
            return None
        return self.session(batch)[0]

    def logits(self, batch: Tensor) -> Tensor:
        """Logits [B, K, h, w] of uint8 images [B, h, w, C]; their differences are what counts."""
        if self.is_raw:
            pixels = self.card.preprocessing.normalise(batch).numpy()
            return torch.from_numpy(self.session(np.ascontiguousarray(pixels))[0]).float()
        mask, *probability = self.session(np.ascontiguousarray(batch.numpy()))
        mask = torch.from_numpy(mask).long()
        classes = torch.arange(self.card.classes)[:, None, None]
        chosen = mask[:, None] == classes
        if not probability:
            return CERTAIN * chosen.float()
        return self._from_probability(torch.from_numpy(probability[0]), mask)

    def _from_probability(self, probability: Tensor, mask: Tensor) -> Tensor:
        """Logits of which the file's own threshold makes the file's own mask, to the last pixel."""
        logits = probability.clamp(min=torch.finfo(torch.float32).tiny).log()
        if self.card.classes > 2:
            return logits
        edge = math.log(self.card.threshold / (1 - self.card.threshold))
        edge = torch.tensor(edge, dtype=torch.float32)
        margin = logits[:, 1] - logits[:, 0]
        below = torch.nextafter(edge, torch.tensor(-math.inf))
        margin = torch.where(mask == 1, margin.maximum(edge), margin.minimum(below))
        return torch.stack([torch.zeros_like(margin), margin], 1)


def is_exported(path: Path) -> bool:
    """Whether a path names an exported file rather than a run."""
    return Path(path).suffix.lower() in FORMATS


def results_of_file(path: Path) -> Path:
    """The folder beside an exported file that holds what its evaluations found."""
    return path.with_name(f"{path.name}.results")


def open_exported(
    path: Path, *, preprocessing: Path | None = None, precision: str = "auto"
) -> ExportedBackend:
    """The file as a backend; `preprocessing` is a YAML file that describes one of another tool.

    It uses as many threads as PyTorch would. OpenVINO computes in float32 unless `precision` says
    bf16. Raises `UserError` for a file that is missing, damaged, foreign without `preprocessing`,
    or unsafe.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a run folder, .onnx, .xml or .pt2")
    if precision == "fp16":
        raise UserError(
            f"--precision fp16: {path} computes as it was exported; give auto, or bf16 for OpenVINO"
        )
    session, plain = READERS[FORMATS[path.suffix.lower()]](path, precision)
    if preprocessing is not None:
        return ExportedBackend(session, _described(preprocessing), path)
    if plain is None:
        raise UserError(
            f"{path}: was not exported by medseg, so how its images are prepared is not known; give"
            " --preprocessing FILE.yaml (docs/export.md), or export the run again"
        )
    try:
        return ExportedBackend(session, Card.from_plain(json.loads(plain)), path)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its description cannot be read ({error})") from None


def _described(path: Path) -> Card:
    """The card of a bare network, from a YAML file with the keys of `Preprocessing` and classes."""
    from medseg.config import read_yaml

    plain = read_yaml(path)
    own = {each.name for each in fields(Preprocessing)}
    more = {"classes", "class_names", "temperature"}
    wrong = sorted(plain.keys() - own - more)
    if wrong or not {"size", "classes"} <= plain.keys():
        raise UserError(
            f"--preprocessing {path}: {'has ' + wrong[0] if wrong else 'lacks size or classes'};"
            f" expected the keys {', '.join(sorted(own | more))}, of which size and classes must be"
            " there"
        )
    size = plain["size"]
    given = {key: value for key, value in plain.items() if key in own} | {
        "size": [size, size] if isinstance(size, int) else size
    }
    channels = given.get("channels", 3)
    for key, default in (("mean", 0.0), ("std", 1.0)):
        given.setdefault(key, [default] * channels)
        if len(given[key]) != channels:
            raise UserError(
                f"--preprocessing {path}: {key} holds {len(given[key])} values, expected one for"
                f" each of {channels} channels"
            )
    rest = {key: value for key, value in plain.items() if key in more}
    return Card.from_plain({"preprocessing": given, "outputs": ["logits"], **rest})


def _onnx(path: Path, precision: str) -> tuple[Session, str | None]:
    onnx, runtime = library("onnx"), library("onnxruntime")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        raise UserError(f"{path}: is not an ONNX file ({brief(error)})") from None
    _refuse_external(model, path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UserError(f"{path}: ONNX Runtime cannot open it ({brief(error)})") from None
    name = session.get_inputs()[0].name
    stored = session.get_modelmeta().custom_metadata_map.get(KEY)
    return lambda image: session.run(None, {name: image}), stored


def _refuse_external(model: Any, path: Path) -> None:
    """`UserError` for weights in another file, before a runtime follows the path to it."""
    from onnx.external_data_helper import uses_external_data

    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        tensors += [each.t for each in node.attribute if each.HasField("t")]
    outside = next((tensor for tensor in tensors if uses_external_data(tensor)), None)
    if outside is not None:
        place = next((e.value for e in outside.external_data if e.key == "location"), "?")
        raise UserError(
            f"{path}: keeps the weights {outside.name} in another file, {place}, which is not read;"
            " save it with all weights inside"
        )


def _openvino(path: Path, precision: str) -> tuple[Session, str | None]:
    openvino = library("openvino")
    if not path.with_suffix(".bin").is_file():
        raise UserError(f"{path}: its weights {path.with_suffix('.bin').name} are not beside it")
    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    try:
        model = core.read_model(path)
        compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:
        raise UserError(f"{path}: OpenVINO cannot open it ({brief(error)})") from None
    stored = model.get_rt_info(KEY).value if model.has_rt_info(KEY) else None
    any_shape, fixed = compiled.create_infer_request(), None
    shape, repeats = (), 0

    def session(image: np.ndarray) -> list[np.ndarray]:
        nonlocal shape, repeats, fixed
        repeats = repeats + 1 if image.shape == shape else 0
        shape = image.shape
        if repeats == 0:
            fixed = None
        elif repeats == STEADY:  # as in a video: a graph for this shape alone is faster
            alone = model.clone()
            alone.reshape(list(shape))
            fixed = core.compile_model(alone, "CPU", settings).create_infer_request()
        found = (fixed or any_shape).infer([image])
        return [np.array(each) for each in found.values()]

    return session, stored


def _torch(path: Path, precision: str) -> tuple[Session, str | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            there = [name for name in archive.namelist() if name.endswith(f"extra/{KEY}")]
    except zipfile.BadZipFile:
        raise UserError(f"{path}: is not a .pt2 file, or a damaged one") from None
    if not there:
        raise UserError(
            f"{path}: was not exported by medseg; a .pt2 file of another tool is not opened, since"
            " that may run code"
        )
    extra = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:
        raise UserError(f"{path}: PyTorch cannot open it ({brief(error)})") from None
    module = program.module()

    def session(image: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(torch.from_numpy(image))
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

    stored = extra[KEY]
    return session, stored.decode() if isinstance(stored, bytes) else stored


READERS = {"onnx": _onnx, "openvino": _openvino, "torch": _torch}


def library(name: str) -> Any:
    """A runtime of the extra, or a `UserError` that says how to install it.

    OpenVINO and NNCF report their use to a web service unless told otherwise; here they do not.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # both take a missing one for a refusal
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{name} is not installed; {EXTRA}") from None


def brief(error: Exception, most: int = 160) -> str:
    """The words of an error on one line, cut to `most` characters."""
    return " ".join(str(error).split())[:most]
