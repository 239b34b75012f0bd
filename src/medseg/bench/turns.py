"""Two ways of doing the same work, in turns: A B A B, each in a process of its own.

Turns cancel what else the machine does in the meantime, and separate processes keep memory and
thread pools apart.
"""

from __future__ import annotations

import math
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
    """One turn: `images` processed in `seconds`, of which `stages` seconds in each named stage.

    `calls` are the seconds of each image, where they are taken one after another.
    """

    images: int
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)
    calls: list[float] = field(default_factory=list)


Work = Callable[[], Reading]
Maker = Callable[..., Work]


def in_turns(
    variants: Mapping[str, tuple[Maker, tuple]],
    *,
    seconds: float,
    rounds: int = 3,
    apart: bool = False,
) -> dict[str, dict[str, Any]]:
    """Run each variant in a process of its own, once to warm up, then in turns for `seconds`.

    A variant is a maker and its arguments; `maker(*arguments)` returns the function to time. There
    are at least `rounds` turns each. With `apart` each turn has a new process, which warms up anew:
    for variants that do not fit into memory together. Returns {variant: {"images_per_second"
    (median), "turns", "stages" (median share of the turn), "peak_memory_mib", "warm_up_seconds"
    (median)}}. Raises the `UserError` of a variant.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in variants}
    warm_up: dict[str, list[float]] = {name: [] for name in variants}
    memory: dict[str, float] = dict.fromkeys(variants, 0.0)
    children: dict[str, tuple[Any, Connection]] = {}

    def begin(name: str) -> None:
        children[name] = _start(variants[name])
        warm_up[name].append(_timed(children[name][1], name))

    try:
        if not apart:
            for name in variants:
                begin(name)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or min(map(len, readings.values())) < rounds:
            for name in variants:
                if apart:
                    begin(name)
                readings[name].append(_ask(children[name][1], "run", name))
                memory[name] = max(memory[name], _ask(children[name][1], "memory", name))
                if apart:
                    _end(*children.pop(name))
    finally:
        for child in children.values():
            _end(*child)
    found = {}
    for name in variants:
        found[name] = _summary(readings[name]) | {
            "peak_memory_mib": memory[name],
            "warm_up_seconds": round(statistics.median(warm_up[name]), 2),
        }
    return found


def _start(work: tuple[Maker, tuple]) -> tuple[Any, Connection]:
    """A process that waits for questions about this work, and the pipe to ask by."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, *work))
    process.start()
    theirs.close()
    return process, ours


def _end(process: Any, pipe: Connection) -> None:
    pipe.close()  # the child ends by itself
    process.join(timeout=10)


def _timed(pipe: Connection, name: str) -> float:
    """Seconds of a turn, with what comes before the first one."""
    started = time.perf_counter()
    _ask(pipe, "run", name)
    return time.perf_counter() - started


def _summary(readings: list[Reading]) -> dict[str, Any]:
    """Medians over the turns: images per second, and the share of each stage.

    Of calls also the median and the 99th percentile, in milliseconds.
    """
    staged = [reading for reading in readings if reading.stages]
    names: dict[str, None] = {}  # in order of first appearance
    for reading in staged:
        names |= dict.fromkeys(reading.stages)
    stages = {}
    for name in names:
        share = statistics.median(turn.stages.get(name, 0.0) / turn.seconds for turn in staged)
        stages[name] = round(share, 4)
    speed = statistics.median(turn.images / turn.seconds for turn in readings)
    found = {"images_per_second": round(speed, 3), "turns": len(readings), "stages": stages}
    calls = sorted(1000 * call for turn in readings for call in turn.calls)
    if calls:
        found["p50_ms"] = round(statistics.median(calls), 2)
        found["p99_ms"] = round(calls[math.ceil(0.99 * len(calls)) - 1], 2)
    return found


def _ask(pipe: Connection, question: str, name: str) -> Any:
    """The answer to "run" or "memory"; raises what the process raised."""
    try:
        pipe.send(question)
        answer = pipe.recv()
    except (EOFError, OSError):
        raise UserError(
            f"the {name} process ended without an answer, as when memory is short; lower"
            " --batch-size or --size"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _child(pipe: Connection, maker: Maker, arguments: tuple) -> None:
    """Answer questions until the pipe is closed."""
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
    """MiB that this process has held at most.

    On the CUDA device where one is used, else resident in main memory.
    """
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held before
        lines = status.read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return round(kib / 1024, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
