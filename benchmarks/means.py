"""The worth of each means to speed by itself: pairs of ways, in turns, in one process.

    python benchmarks/means.py --out benchmarks/results/means-cpu.json

U-Net 32 at 320 pixels unless a name says otherwise; milliseconds, medians of the turns, and the
ratio of the first way to the second. Compiling is timed with its first step.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.bench.bench import machine
from medseg.config import Optim, make
from medseg.hardware import autocast, keep_freed_memory, pick_accelerator
from medseg.models import create_model
from medseg.models.fold import fold_batch_norm
from medseg.training.optim import MovingAverage, make_optimizer
from medseg.training.profile import wait_for

Way = Callable[[], Any]


def stepping(
    device: torch.device,
    *,
    precision: str = "bf16",
    layout: torch.memory_format = torch.channels_last,
    batch: int = 4,
    compile: bool = False,
) -> Way:
    """A training step without its data."""
    torch.manual_seed(0)
    model = create_model("unet", encoder_weights=None).to(device, memory_format=layout)
    if compile:
        model.compile()
    optimizer = make_optimizer(model, make(Optim, {}), fused=True)
    image = torch.randn(batch, 3, 320, 320, device=device).contiguous(memory_format=layout)
    mask = torch.randint(0, 2, (batch, 320, 320), device=device)

    def step() -> None:
        with autocast(device.type, precision):
            loss = nn.functional.cross_entropy(model(image), mask)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def updating(device: torch.device, **options: bool) -> Way:
    """An AdamW step over random gradients."""
    model = create_model("unet", encoder_weights=None).to(device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return torch.optim.AdamW(model.parameters(), **options).step


def averaging(device: torch.device, *, together: bool) -> Way:
    """An update of the moving average of all weights, in one kernel or tensor by tensor."""
    model = create_model("unet", encoder_weights=None).to(device)
    average = MovingAverage(model, 0.999)

    @torch.no_grad()
    def one_by_one() -> None:
        averaged, current = average.model.state_dict(), model.state_dict()
        for ours, theirs in zip(averaged.values(), current.values(), strict=True):
            if ours.is_floating_point():
                ours.mul_(0.999).add_(theirs, alpha=0.001)

    return (lambda: average.update(model)) if together else one_by_one


def predicting(
    device: torch.device,
    *,
    precision: str,
    folded: bool = True,
    inference: bool = True,
    batch: int = 4,
    layout: torch.memory_format = torch.channels_last,
    traced: bool = False,
) -> Way:
    """A forward pass of images of 352 pixels in `batch`es, 4 in all."""
    torch.manual_seed(0)
    model = create_model("unet", encoder_weights=None).to(device).eval()
    if folded:
        model = fold_batch_norm(model, 3)
    model = model.to(memory_format=layout)
    images = torch.randn(4, 3, 352, 352, device=device).contiguous(memory_format=layout)
    batches = images.split(batch)
    if traced:  # fuses convolution and ReLU
        model = copy.deepcopy(model).bfloat16()
        batches = [part.bfloat16() for part in batches]
        graph = torch.jit.trace(model, batches[0], check_trace=False)
        model = torch.jit.optimize_for_inference(torch.jit.freeze(graph))
        precision = "fp32"  # no autocast over weights that are bf16 already

    def forward() -> None:
        without_gradient = torch.inference_mode() if inference else torch.no_grad()
        with without_gradient, autocast(device.type, precision):
            for part in batches:
                model(part)

    return forward


def pairs(device: torch.device) -> dict[str, tuple[Callable[[], Way], Callable[[], Way]]]:
    """The ways to compare, made when their turn comes."""
    plain = torch.contiguous_format
    return {
        "step: fp32 contiguous / fp32 channels-last": (
            lambda: stepping(device, precision="fp32", layout=plain),
            lambda: stepping(device, precision="fp32"),
        ),
        "step: fp32 channels-last / bf16 channels-last": (
            lambda: stepping(device, precision="fp32"),
            lambda: stepping(device),
        ),
        "step: bf16 contiguous / bf16 channels-last": (
            lambda: stepping(device, layout=plain),
            lambda: stepping(device),
        ),
        "step: eager / compiled, bf16": (
            lambda: stepping(device),
            lambda: stepping(device, compile=True),
        ),
        "AdamW: tensor by tensor / foreach": (
            lambda: updating(device, foreach=False),
            lambda: updating(device, foreach=True),
        ),
        "AdamW: foreach / fused": (
            lambda: updating(device, foreach=True),
            lambda: updating(device, fused=True),
        ),
        "moving average: tensor by tensor / foreach": (
            lambda: averaging(device, together=False),
            lambda: averaging(device, together=True),
        ),
        "forward: no_grad / inference_mode, bf16": (
            lambda: predicting(device, precision="bf16", inference=False),
            lambda: predicting(device, precision="bf16"),
        ),
        "forward: batch norms / folded, bf16": (
            lambda: predicting(device, precision="bf16", folded=False),
            lambda: predicting(device, precision="bf16"),
        ),
        "forward: fp32 contiguous / fp32 channels-last, folded": (
            lambda: predicting(device, precision="fp32", layout=plain),
            lambda: predicting(device, precision="fp32"),
        ),
        "forward: fp32 / bf16, folded": (
            lambda: predicting(device, precision="fp32"),
            lambda: predicting(device, precision="bf16"),
        ),
        "forward: one by one / batch of 4, bf16": (
            lambda: predicting(device, precision="bf16", batch=1),
            lambda: predicting(device, precision="bf16"),
        ),
        "forward: eager / traced with fused ReLU, bf16": (
            lambda: predicting(device, precision="bf16"),
            lambda: predicting(device, precision="bf16", traced=True),
        ),
    }


def main() -> None:
    """Measure all pairs and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    accelerator = pick_accelerator()
    device = torch.device(accelerator)
    if accelerator == "cpu":
        keep_freed_memory()
    found: dict[str, Any] = {"machine": machine(accelerator), "pairs": {}}

    def seconds(way: Way) -> float:
        started = time.perf_counter()
        way()
        wait_for(device)
        return time.perf_counter() - started

    for name, makers in pairs(device).items():
        ways = [make_way() for make_way in makers]
        first = [seconds(way) for way in ways]
        turns = [[seconds(way) for way in ways] for _ in range(given.turns)]
        medians = [statistics.median(each) for each in zip(*turns, strict=True)]
        found["pairs"][name] = {
            "ms": [round(1000 * value, 2) for value in medians],
            "first_s": [round(value, 2) for value in first],
            "ratio": round(medians[0] / medians[1], 2),
        }
        print(name, found["pairs"][name], flush=True)
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
