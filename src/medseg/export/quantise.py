"""Eight-bit networks: static quantisation by NNCF, weights per channel, ranges from real images."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medseg.inference.exported import library

CONVOLUTIONS = {  # and matrix products, as the two formats call them
    "Conv",
    "ConvTranspose",
    "Gemm",
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
}


def quantise(
    model: Any,
    images: Sequence[np.ndarray],
    *,
    keep: Sequence[str] = (),
    per_channel: bool = True,
) -> Any:
    """An ONNX or OpenVINO model with its network in int8; what stands before and behind is left.

    `images` are inputs of the model, uint8 [H, W, C] or, of a bare network, float32 [C, h, w]; they
    set the ranges of the activations. `keep` names layers that are left as they are. Without
    `per_channel` a layer has one scale for all of its weights, which depthwise ones do not survive.
    """
    nncf = library("nncf")
    named = _is_onnx(model)
    inputs = nncf.Dataset(images, lambda image: {"image": image[None]} if named else image[None])
    left = [f"network/{re.escape(name)}/.*" for name in keep]
    scope = nncf.IgnoredScope(patterns=["image/.*", *left], validate=False)
    advanced = nncf.quantization.advanced_parameters
    weights = advanced.QuantizationParameters(per_channel=per_channel)
    with _quiet():
        return nncf.quantize(
            model,
            inputs,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=scope,
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                weights_quantization_params=weights
            ),
        )


def layers(model: Any) -> tuple[list[str], list[str]]:
    """The convolutions and matrix products of the network: those in int8, and the others."""
    in_int8, others = [], []
    for name, kind, source in _operations(model):
        if kind in CONVOLUTIONS and name.startswith("network/"):
            quantised = source in ("DequantizeLinear", "FakeQuantize", "Multiply")
            (in_int8 if quantised else others).append(name.removesuffix("/WithoutBiases"))
    return in_int8, others


def _operations(model: Any) -> Iterator[tuple[str, str, str]]:
    """Name and type of each operation, and the type of the one that makes its second input.

    The second input of a convolution are its weights.
    """
    if _is_onnx(model):
        makers = {output: node.op_type for node in model.graph.node for output in node.output}
        for node in model.graph.node:
            yield node.name, node.op_type, makers.get(node.input[1], "") if node.input[1:] else ""
        return
    for operation in model.get_ops():
        weights = operation.inputs()[1:2]
        source = weights[0].get_source_output().get_node().get_type_name() if weights else ""
        yield operation.get_friendly_name(), operation.get_type_name(), source


def _is_onnx(model: Any) -> bool:
    return hasattr(model, "graph")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without NNCF's reports and bars, which go to standard output."""
    nncf = library("nncf")
    previous = logging.getLogger("nncf").level
    nncf.set_log_level(logging.ERROR)
    try:
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            yield
    finally:
        nncf.set_log_level(previous or logging.INFO)
