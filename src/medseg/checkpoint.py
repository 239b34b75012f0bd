"""Checkpoint files: everything needed to use a network again, written whole or not at all, read
without running code.

A checkpoint is a dict of plain values and tensors:

- `network`: the arguments of `create_model`; `weights`: its state dict;
- `input`: size, resize policy, channels, bit depth, mean and std of the normalisation;
- `classes`, `mask_kind`, `epoch`, `step`, `score`, `metric`, `medseg` (version), `config` (flat, as
  in config.yaml);
- `temperature` (where `medseg calibrate` was run): what logits are divided by before probabilities
  are read;
- `training` (only in last.pt): what resuming needs.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.files import write_atomic
from medseg.models import create_model

FORMAT = 1


@dataclass(frozen=True)
class Input:
    """How images become the network's input; travels with the weights."""

    size: tuple[int, int]
    resize: str
    channels: int
    bit_depth: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def constants(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Mean and std as float32 tensors [C] on the device."""
        return torch.tensor(self.mean, device=device), torch.tensor(self.std, device=device)


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write the dict; when the disk is full the earlier file survives and a `UserError` says so."""
    memory = (
        io.BytesIO()
    )  # torch's writer hides the operating system's error; a buffer keeps it plain
    torch.save({"format": FORMAT, **checkpoint}, memory)
    write_atomic(path, lambda file: file.write(memory.getbuffer()))


def load(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint file, or the best (else the last) one of a run folder.

    Only tensors and plain values are accepted: a file that asks to run code is refused unread.
    """
    path = find(path)
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds something else than weights and plain values, and was not run; "
            "use a checkpoint written by medseg"
        ) from None
    except Exception as error:  # the unpickler raises whatever the bytes of a foreign file lead to
        raise UserError(
            f"{path}: is damaged or no checkpoint ({' '.join(str(error).split())[:120]}); "
            "use another checkpoint of the run, such as last.pt"
        ) from None
    if (
        not isinstance(checkpoint, dict)
        or not {"network", "weights", "input", "classes"} <= checkpoint.keys()
    ):
        raise UserError(
            f"{path}: is not a medseg checkpoint (no network, weights, input); give a run folder or"
            " its best.pt"
        )
    if checkpoint["format"] > FORMAT:
        raise UserError(
            f"{path}: was written by a newer medseg ({checkpoint.get('medseg')}); update medseg to"
            " read it"
        )
    return checkpoint


def find(path: Path) -> Path:
    """The checkpoint that a run folder or a file name stands for."""
    path = Path(path)
    if path.is_dir():
        for name in ("best.pt", "last.pt"):
            if (path / name).exists():
                return path / name
        several = sorted(each.name for each in path.glob("*-*") if (each / "last.pt").exists())
        if several:
            raise UserError(
                f"{path}: holds {len(several)} runs; give one of them, such as {path / several[0]}"
            )
        raise UserError(
            f"{path}: holds neither best.pt nor last.pt; give the folder of a run that has saved a"
            " checkpoint"
        )
    if not path.exists():
        raise UserError(f"{path}: no such run folder or checkpoint")
    return path


def network(checkpoint: dict[str, Any]) -> nn.Module:
    """The network with its weights, in eval mode."""
    model = create_model(**checkpoint["network"], encoder_weights=None)
    load_weights(model, checkpoint["weights"], "the checkpoint")
    return model.eval()


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Copy a state dict into the network; a network of another kind or width is a `UserError`
    naming a difference.
    """
    own = model.state_dict()
    wrong = [
        key
        for key in own.keys() | weights.keys()
        if key not in own or key not in weights or own[key].shape != weights[key].shape
    ]
    if wrong:
        key = sorted(wrong)[0]
        here, there = (tuple(d[key].shape) if key in d else "nothing" for d in (own, weights))
        raise UserError(
            f"{source} is of another network: {len(wrong)} of {len(own)} entries differ, such as"
            f" {key} (expected {here}, got {there}); give the same --model, --base-channels and"
            " classes"
        )
    model.load_state_dict(weights)


def input_of(checkpoint: dict[str, Any]) -> Input:
    """The stored `Input`."""
    return Input(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in checkpoint["input"].items()
        }
    )
