"""How much each layer of a network suffers from eight bits, and from sixteen-bit floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medseg.errors import UserError

LARGEST_HALF = 65504.0
LEVELS = 255  # of eight bits


def largest_activation(network: nn.Module, batches: Sequence[Tensor]) -> tuple[float, str]:
    """The largest absolute output of any layer for these inputs [B, C, h, w], and its layer."""
    largest, where = 0.0, ""

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            nonlocal largest, where
            if isinstance(output, Tensor) and output.is_floating_point():
                value = float(output.abs().max())
                if not value <= largest:  # NaN too
                    largest, where = value, name

        return hook

    hooks = [
        module.register_forward_hook(look(name)) for name, module in network.named_modules() if name
    ]
    try:
        with torch.inference_mode():
            for batch in batches:
                network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return largest, where


def check_half(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Raise `UserError` where some activation is beyond what float16 holds."""
    largest, where = largest_activation(network, batches)
    if not largest <= LARGEST_HALF:
        raise UserError(
            f"--precision fp16: activations of the layer {where} reach {largest:.3g}, beyond the"
            f" {LARGEST_HALF:.0f} of float16; give --precision fp32 or int8"
        )


def by_sensitivity(network: nn.Module, batches: Sequence[Tensor]) -> list[str]:
    """The layers with weights, first those whose eight bits alone change the logits most.

    Weights are rounded per output channel, inputs per tensor. `batches` are inputs [B, C, h, w].
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    names = {name: each for name, each in network.named_modules() if isinstance(each, kinds)}
    with torch.inference_mode():
        expected = [network(batch) for batch in batches]
        error = {}
        for name, layer in names.items():
            weight = layer.weight.data
            layer.weight.data = _rounded(weight, _output_axis(layer))
            hook = layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]),))
            try:
                found = [network(batch) for batch in batches]
            finally:
                hook.remove()
                layer.weight.data = weight
            error[name] = sum(
                float((a - b).square().mean()) for a, b in zip(found, expected, strict=True)
            )
    return sorted(names, key=error.__getitem__, reverse=True)


def _output_axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.ConvTranspose2d) else 0


def _rounded(x: Tensor, axis: int | None = None) -> Tensor:
    """The tensor in steps of its range, or of each slice along `axis`, over 255."""
    if axis is None:
        low, high = x.min(), x.max()
    else:
        others = [each for each in range(x.dim()) if each != axis]
        low, high = x.amin(others, keepdim=True), x.amax(others, keepdim=True)
    step = ((high - low) / LEVELS).clamp(min=1e-12)
    return ((x - low) / step).round() * step + low
