"""Batch norm folded into the convolution before it: in eval mode the two are one affine map."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-3  # of the largest logit, between the network and the folded one


def fold_batch_norm(model: nn.Module, channels: int) -> nn.Module:
    """The network in eval mode without the batch norms that directly follow a convolution.

    The logits are the same but for rounding. Which batch norms do is seen in a forward pass, not
    guessed from names, so it holds for any encoder. The result is for prediction only: it cannot be
    trained, and its state dict is another. Where the logits of a random image differ, as when
    something else reads the output of a convolution too, the given network is returned as it is.
    """
    model = model.eval()
    folded = copy.deepcopy(model)
    device = next(model.parameters()).device
    image = torch.rand((1, channels, 64, 64), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode(False), torch.no_grad():
        expected = model(image)
        names = {module: name for name, module in folded.named_modules()}
        for conv, norm in _pairs(folded, image):
            transpose = isinstance(conv, nn.ConvTranspose2d)
            _replace(folded, names[conv], fuse_conv_bn_eval(conv, norm, transpose=transpose))
            # timm's batch norm holds the activation that follows it
            rest = norm.act if hasattr(norm, "act") else nn.Identity()
            _replace(folded, names[norm], rest)
        error = (folded(image) - expected).abs().max()
    return folded if error <= TOLERANCE * expected.abs().max() else model


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that took their very output, where both have one partner."""
    # by the identity of the output; the tensor is kept, or its id would be used again
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    hooks = []

    def after_convolution(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        made[id(output)] = module, output

    def before_norm(module: nn.Module, inputs: tuple) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            hooks.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(before_norm))
    model(image)
    for hook in hooks:
        hook.remove()
    convolutions = [conv for conv, _ in pairs]
    norms = [norm for _, norm in pairs]
    return [
        (conv, norm)
        for conv, norm in pairs
        if convolutions.count(conv) == 1 and norms.count(norm) == 1
    ]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
