"""Two ways of doing the same work, in turns: A B A B, each in a process of its own.

Turns cancel what else the machine does in the meantime, and separate processes keep memory and thread pools apart.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medseg.errors import UserError


@dataclass
class Reading:
    """One turn: `images` worked on in `seconds`, of which `stages` seconds in each named stage."""

    images: int
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)


Work = Callable[[], Reading]
Maker = Callable[..., Work]


def in_turns(variants: Mapping[str, tuple[Maker, tuple]], *, seconds: float, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Run `maker(*arguments)` of each variant in its process, once to warm up, then in turns for `seconds`.

    At least `rounds` turns each. Returns {variant: {"images_per_second" (median), "turns", "stages" (median share of the
    turn), "peak_memory_mib", "warm_up_seconds"}}. Raises the `UserError` of a variant.
    """
    context = multiprocessing.get_context("spawn")
    children: dict[str, tuple[Any, Connection]] = {}
    try:
        readings: dict[str, list[Reading]] = {}
        warm_up = {}
        for name, (maker, arguments) in variants.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_child, args=(theirs, maker, arguments))
            process.start()
            theirs.close()
            children[name] = process, ours
            started = time.perf_counter()
            _ask(ours, "run", name)
            warm_up[name], readings[name] = time.perf_counter() - started, []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or min(map(len, readings.values())) < rounds:
            for name, (_, pipe) in children.items():
                readings[name].append(_ask(pipe, "run", name))
        return {name: _summary(readings[name]) | {"peak_memory_mib": _ask(pipe, "memory", name),
                                                  "warm_up_seconds": round(warm_up[name], 2)}
                for name, (_, pipe) in children.items()}
    finally:
        for process, pipe in children.values():
            pipe.close()  # the child ends by itself
            process.join(timeout=10)


def _summary(readings: list[Reading]) -> dict[str, Any]:
    staged = [reading for reading in readings if reading.stages]
    names = list(dict.fromkeys(name for reading in staged for name in reading.stages))
    stages = {name: statistics.median(r.stages.get(name, 0.0) / r.seconds for r in staged) for name in names}
    return {"images_per_second": round(statistics.median(r.images / r.seconds for r in readings), 3), "turns": len(readings),
            "stages": {name: round(share, 4) for name, share in stages.items()}}


def _ask(pipe: Connection, question: str, name: str) -> Any:
    try:
        pipe.send(question)
        answer = pipe.recv()
    except (EOFError, OSError):
        raise UserError(f"the {name} process ended without an answer, as when memory is short; lower --batch-size or "
                        "--size") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _child(pipe: Connection, maker: Maker, arguments: tuple) -> None:
    from loguru import logger

    logger.remove()
    work: Work | None = None
    while True:
        try:
            question = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            work = work or maker(*arguments)
            pipe.send(work() if question == "run" else peak_memory())
        except UserError as error:
            pipe.send(error)
        except MemoryError:
            os._exit(1)
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            pipe.send(UserError("out of memory; lower --batch-size or --size"))


def peak_memory() -> float:
    """MiB that this process has held at most: on the CUDA device where one is used, else resident in main memory."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before
        kib = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(kib / 1024, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
