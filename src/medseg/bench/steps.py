"""Turns of about two seconds, made of short steps."""

from __future__ import annotations

import time

from medseg.bench.turns import Reading, Work

TURN = 2.0  # seconds that a turn should take


def repeated(step: Work) -> Work:
    """A turn of as many steps as take about `TURN` seconds.

    The first turn warms up: one step, and one to count by.
    """
    steps: int | None = None

    def turn() -> Reading:
        nonlocal steps
        if steps is None:
            step()
            started = time.perf_counter()
            reading = step()
            steps = max(1, round(TURN / (time.perf_counter() - started)))
            return reading
        whole = Reading(0, 0.0)
        for _ in range(steps):
            part = step()
            whole.images += part.images
            whole.seconds += part.seconds
            for name, seconds in part.stages.items():
                whole.stages[name] = whole.stages.get(name, 0.0) + seconds
        return whole

    return turn


def with_scaled_stages(turn: Work) -> Work:
    """The turn with its stages, measured in some steps only, scaled to the whole of it."""

    def scaled() -> Reading:
        reading = turn()
        measured = sum(reading.stages.values())
        for name, seconds in reading.stages.items():
            if measured:
                reading.stages[name] = seconds * reading.seconds / measured
        return reading

    return scaled
