"""A trained run: its folder, and its checkpoint, read without running code."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.config import read_yaml
from medseg.data.remembered import Found, Remembered, check_place, find_again, recall
from medseg.data.sample import Dataset
from medseg.data.sources.dataset import load_dataset
from medseg.data.sources.rules import Rule
from medseg.errors import UserError
from medseg.files import read_csv, write_atomic
from medseg.models import create_model
from medseg.models.fold import fold_batch_norm
from medseg.preprocessing import Preprocessing
from medseg.version import __version__

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to use a network again, and in last.pt what resuming its training needs."""

    network: dict[str, Any]  # the arguments of `create_model`
    weights: dict[str, Tensor]  # its state dict
    preprocessing: Preprocessing
    classes: int  # with the background
    mask_kind: str  # how the masks of its training data were coded
    epoch: int  # epochs trained
    score: float  # best validation score so far
    metric: str  # of `score`
    config: dict[str, Any]  # flat, as in config.yaml
    medseg: str = __version__
    temperature: float = 1.0  # what logits are divided by; other than 1 after `medseg calibrate`
    coding: dict[str, Any] | None = None  # `MaskCoding.to_dict` of its data; None in older files
    training: dict[str, Any] | None = None  # only in last.pt

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, background first; empty where nobody wrote them down."""
        names = tuple((self.coding or {}).get("names", ()))
        return names if len(names) == self.classes else ()

    def save(self, path: Path) -> None:
        """Write the file; when the disk is full the earlier one survives: `UserError`."""
        memory = io.BytesIO()  # torch's writer hides the system's error; a buffer does not
        torch.save(self._to_dict(), memory)
        write_atomic(path, lambda file: file.write(memory.getbuffer()))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint file, or the best (else the last) one of a run folder.

        Only tensors and plain values are accepted: a file that asks to run code is refused unread.
        """
        path = find_checkpoint(path)
        stored = _read(path)
        wanted = {"network", "weights", "input", "classes"}
        if not isinstance(stored, dict) or not wanted <= stored.keys():
            raise UserError(
                f"{path}: is not a medseg checkpoint (no network, weights, input); give a run"
                " folder or its best.pt"
            )
        if stored["format"] > FORMAT:
            raise UserError(
                f"{path}: was written by a newer medseg ({stored.get('medseg')}); update medseg to"
                " read it"
            )
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in stored.items() if key in known}
        return cls(preprocessing=Preprocessing.from_dict(stored["input"]), **values)

    def build(self) -> nn.Module:
        """The network with its weights, in eval mode, as it was trained."""
        model = create_model(**self.network, encoder_weights=None)
        load_weights(model, self.weights, "the checkpoint")
        return model.eval()

    def _to_dict(self) -> dict[str, Any]:
        """The stored form, without a `temperature` or `training` that says nothing."""
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        stored["input"] = stored.pop("preprocessing").to_dict()
        if self.temperature == 1.0:
            del stored["temperature"]
        if self.training is None:
            del stored["training"]
        return {"format": FORMAT, **stored}


@dataclass(frozen=True)
class Run:
    """A run folder, or one checkpoint file, opened: `folder` holds it, `file` is the checkpoint."""

    folder: Path
    file: Path
    checkpoint: Checkpoint

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Raises `UserError` for a missing, damaged, foreign or malicious file."""
        path = Path(path)
        file = find_checkpoint(path)
        return cls(path if path.is_dir() else path.parent, file, Checkpoint.load(file))

    @property
    def config(self) -> dict[str, Any]:
        """The options of the training, flat, as in config.yaml."""
        return self.checkpoint.config

    def network(self, device: torch.device | str = "cpu") -> nn.Module:
        """The network ready to predict: in eval mode, channels-last, its batch norms folded."""
        channels = self.checkpoint.network.get("in_channels", 3)
        network = fold_batch_norm(self.checkpoint.build(), channels)
        return network.to(device, memory_format=torch.channels_last)

    @property
    def pairing_rule(self) -> Rule:
        """How the masks of its data are named; runs of earlier versions do not say."""
        return Rule(self.config.get("images"), self.config.get("masks"))

    @property
    def place(self) -> tuple[str, Path]:
        """--data and --data-root of its latest start; best.pt can be of an earlier one."""
        file = self.folder / "config.yaml"
        latest = self.config | (read_yaml(file) if file.is_file() else {})
        return latest["data"], Path(latest["data_root"])

    def remembered(self) -> Remembered:
        """The images that the run was trained, selected and tested with, as its folder says."""
        return recall(self.folder)

    def find(
        self,
        data: str | None = None,
        data_root: Path | None = None,
        rule: Rule | None = None,
    ) -> Found | None:
        """The run's images where they lie now; `data` is their new place.

        They are paired by `rule`, else by the run's own or, if that fits nothing in a new place, as
        the names show. None where the run keeps no lists. Raises `UserError` where there is no such
        data set.
        """
        given, root = self.place
        if data is None:
            check_place(self.folder, given)
        where = self.folder, data or given, data_root or root, self.config["split"]
        try:
            return find_again(*where, rule or self.pairing_rule)
        except UserError:
            if data is None or rule or not self.pairing_rule:
                raise
        return find_again(*where)

    def dataset(self, data: str | None = None, data_root: Path | None = None) -> Dataset:
        """The data set that the run was trained on, divided as it was.

        It is divided anew where the run keeps no lists. Images that are gone are left out.
        """
        found = self.find(data, data_root)
        return found.dataset if found else self.divided(data, data_root)

    def divided(self, data: str | None = None, data_root: Path | None = None) -> Dataset:
        """The data set that the run was trained on, divided anew by its split."""
        config, (given, root) = self.config, self.place
        return load_dataset(
            data or given,
            data_root=data_root or root,
            split=config["split"],
            hold_out=config["hold_out"],
            pages=config.get("pages"),
            rule=self.pairing_rule,
        )

    def history(self) -> list[dict[str, Any]]:
        """The rows of metrics.csv, one per epoch; none where there is no such file."""
        return read_csv(self.folder / "metrics.csv")

    def with_temperature(self, temperature: float) -> Run:
        """This run with its checkpoint file rewritten to hold `temperature`."""
        checkpoint = replace(self.checkpoint, temperature=temperature)
        checkpoint.save(self.file)
        return replace(self, checkpoint=checkpoint)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a run folder or a file name stands for: best.pt, else last.pt."""
    path = Path(path)
    if path.is_dir():
        for name in ("best.pt", "last.pt"):
            if (path / name).exists():
                return path / name
        runs = sorted(each.name for each in path.glob("*-*") if (each / "last.pt").exists())
        if runs:
            raise UserError(
                f"{path}: holds {len(runs)} runs; give one of them, such as {path / runs[0]}"
            )
        raise UserError(
            f"{path}: holds neither best.pt nor last.pt; give the folder of a run that has saved a"
            " checkpoint"
        )
    if not path.exists():
        raise UserError(f"{path}: no such run folder or checkpoint")
    return path


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Copy a state dict into the network; `UserError` for one of another kind or width."""
    own = model.state_dict()
    wrong = sorted(
        key
        for key in own.keys() | weights.keys()
        if key not in own or key not in weights or own[key].shape != weights[key].shape
    )
    if wrong:
        key = wrong[0]
        expected = tuple(own[key].shape) if key in own else "nothing"
        got = tuple(weights[key].shape) if key in weights else "nothing"
        raise UserError(
            f"{source} is of another network: {len(wrong)} of {len(own)} entries differ, such as"
            f" {key} (expected {expected}, got {got}); give the same --model, --base-channels and"
            " classes"
        )
    model.load_state_dict(weights)


def _read(path: Path) -> Any:
    """What the file holds: tensors and plain values, or a `UserError`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds more than weights and plain values, so it was not loaded; use a"
            " checkpoint written by medseg"
        ) from None
    except Exception as error:  # the unpickler raises whatever the bytes of a foreign file lead to
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: is damaged or not a checkpoint ({reason}); use another checkpoint of the run,"
            " such as last.pt"
        ) from None
