"""The writers: a graph and its card as an .onnx, .xml with .bin, or .pt2 file."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.inference.exported import KEY, Card, brief, library

MOST = {"batch": 1024, "height": 32768, "width": 32768}  # sizes that a graph is made for
DESCRIPTION = "uint8 images [batch, height, width, channels] of any size to their masks"


def capture(
    graph: nn.Module, example: Tensor, *, raw: bool = False
) -> torch.export.ExportedProgram:
    """The graph as a program of tensor operations; batch, height and width are free.

    Of a `raw` network only the batch is. `example` holds at least two images. Raises `UserError`
    for a network that is not a fixed sequence of operations.
    """
    names = ["batch"] if raw else ["batch", "height", "width"]
    free = {axis: torch.export.Dim(name, min=1, max=MOST[name]) for axis, name in enumerate(names)}
    try:
        with _quiet():
            return torch.export.export(
                graph,
                (example,),
                dynamic_shapes=(free,),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # whatever the tracer meets in a network
        raise UserError(
            f"the network cannot be exported: {brief(error, 200)}; choose another --model,"
            " --encoder or --decoder"
        ) from None


def onnx_model(program: torch.export.ExportedProgram, card: Card, *, opset: int, ir: int) -> Any:
    """The program as an ONNX model.

    Nodes of the network are called "network/LAYER/...", the others "image/...".
    """
    library("onnx")
    library("onnxscript")
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=["image"],
                output_names=list(card.outputs),
                verbose=False,
            )
        model = exported.model_proto
    except Exception as error:
        raise UserError(
            f"the network cannot be written as ONNX: {brief(error, 200)}; try another --opset, or"
            " --format torch"
        ) from None
    _tidy(model, raw=card.outputs == ("logits",))
    _check_versions(model, opset, ir)
    model.ir_version = ir
    model.producer_name, model.producer_version = "medseg", card.medseg
    model.doc_string = DESCRIPTION
    return model


def write_onnx(model: Any, card: Card, path: Path) -> None:
    """One .onnx file, weights inside, with the card in its metadata."""
    onnx = library("onnx")
    onnx.helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def openvino_model(model: Any) -> Any:
    """An ONNX model as one of OpenVINO."""
    openvino = library("openvino")
    return openvino.convert_model(io.BytesIO(model.SerializeToString()))


def write_openvino(model: Any, card: Card, path: Path) -> None:
    """An .xml file and its .bin; weights of fp16 files are stored in 16 bits."""
    openvino = library("openvino")
    model.set_rt_info(card.to_json(), KEY)
    openvino.save_model(model, path, compress_to_fp16=card.precision == "fp16")


def write_torch(program: torch.export.ExportedProgram, card: Card, path: Path) -> None:
    """A .pt2 file with the card inside."""
    with _quiet():
        torch.export.save(program, path, extra_files={KEY: card.to_json()})


def _tidy(model: Any, *, raw: bool) -> None:
    """Names that say what they are, and none of the exporter's notes, which name our machine."""
    for node in model.graph.node:
        scopes = {each.key: each.value for each in node.metadata_props}
        layer = _layer(scopes.get("pkg.torch.onnx.name_scopes", "[]"))
        node.name = f"{layer or 'image'}/{node.name}"
        del node.metadata_props[:]
    for part in (model.graph.input, model.graph.output, model.graph.value_info):
        for value in part:
            del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.value_info[:]
    free = ["batch"] if raw else ["batch", "height", "width"]
    sizes = [each.dim_param for each in model.graph.input[0].type.tensor_type.shape.dim]
    new = {size: name for size, name in zip(sizes, free, strict=False) if size}
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = new.get(size.dim_param, size.dim_param)


def _layer(scopes: str) -> str:
    """ "network/LAYER" of the exporter's list of scopes, the last of which is the node's own."""
    inner = [each for each in ast.literal_eval(scopes)[:-1] if each.startswith("network")]
    return inner[-1].replace("network.", "network/", 1) if inner else ""


def _check_versions(model: Any, opset: int, ir: int) -> None:
    """`UserError` where the exporter needed another operator set, or --ir is too old for it."""
    import onnx

    there = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if there != opset:
        raise UserError(f"--opset {opset}: this network needs {there}; give --opset {there}")
    least = next((row[1] for row in onnx.helper.VERSION_TABLE if row[2] >= opset), model.ir_version)
    if ir < least:
        raise UserError(
            f"--ir {ir}: operator set {opset} needs at least {least}; give --ir {least}"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' reports, which say nothing to a user."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
