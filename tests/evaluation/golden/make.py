"""Writes pysodmetrics.json: what pysodmetrics 1.6.2 says of generated maps and masks.

Run in an environment of its own, since its pins conflict with ours:

    python -m venv sod && sod/bin/pip install pysodmetrics==1.6.2
    sod/bin/python tests/evaluation/golden/make.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name to a map uint8 [H, W] and a mask of 0 and 255; plain arithmetic, the same on every
    machine.
    """
    found = {}
    for i, (height, width) in enumerate([(40, 56), (61, 47), (96, 120), (33, 33)]):
        y, x = np.mgrid[:height, :width]
        bumps = np.sin(x * (0.11 + 0.03 * i)) + np.cos(y * (0.13 + 0.02 * i))
        mask = ((bumps > 0.6) * 255).astype(np.uint8)
        waves = np.floor(90 * (bumps + 0.35 * np.sin(x * y * 0.017 + i)) + 120)
        found[f"waves {i}"] = np.clip(waves, 3, 250).astype(np.uint8), mask
        found[f"binary {i}"] = ((waves > 160) * 255).astype(np.uint8), mask
    values, mask = found["waves 0"]
    found["empty mask"] = values, np.zeros_like(mask)
    found["full mask"] = values, np.full_like(mask, 255)
    found["empty prediction"] = np.zeros_like(values), mask
    found["faint prediction"] = values // 60, mask
    return found


def golden(values: np.ndarray, mask: np.ndarray, stretch: bool) -> dict[str, float]:
    """The measures of one pair, with pysodmetrics' stretching of the map or without."""
    import py_sod_metrics as sod

    curves = sod.FmeasureV2(
        {
            name: handler(with_dynamic=True, with_adaptive=False, with_binary=False)
            for name, handler in (("dice", sod.DICEHandler), ("iou", sod.IOUHandler))
        }
    )
    measures = {
        "mae": sod.MAE(),
        "s": sod.Smeasure(),
        "e": sod.Emeasure(),
        "wf": sod.WeightedFmeasure(),
        "curves": curves,
    }
    given = (values, mask) if stretch else (values / 255, mask > 128)
    for measure in measures.values():
        measure.step(*given, normalize=stretch)
    found = curves.get_results()
    return {
        "dice": float(found["dice"]["dynamic"].mean()),
        "iou": float(found["iou"]["dynamic"].mean()),
        "max_dice": float(found["dice"]["dynamic"].max()),
        "max_iou": float(found["iou"]["dynamic"].max()),
        "weighted_f": float(measures["wf"].get_results()["wfm"]),
        "s_measure": float(measures["s"].get_results()["sm"]),
        "e_measure": float(measures["e"].get_results()["em"]["curve"].mean()),
        "max_e_measure": float(measures["e"].get_results()["em"]["curve"].max()),
        "mae": float(measures["mae"].get_results()["mae"]),
    }


if __name__ == "__main__":
    facts = {
        "pysodmetrics": version("pysodmetrics"),
        "values": {
            name: {"pranet": golden(*pair, stretch=True), "uacanet": golden(*pair, stretch=False)}
            for name, pair in cases().items()
        },
    }
    Path(__file__).with_name("pysodmetrics.json").write_text(json.dumps(facts, indent=1) + "\n")
