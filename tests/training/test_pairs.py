"""Every pair of options about precision, optimiser and what is around the step trains.

Each training makes three steps, with two batches to an update where it accumulates, so that the
last update of the epoch is short of one.
"""

import itertools
import random
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

import medseg
from medseg.training import session
from medseg.training.resume import config_from

FACTORS = {
    "precision": ("fp32", "bf16", "fp16", "auto"),
    "optimizer": ("sgd", "adam", "adamw", "rmsprop"),
    "clip": (0.0, 0.5),
    "accumulate": (1, 2),
    "ema": (0.0, 0.9),
    "compile": (False, True),
    "teacher": ("", "kl", "kl cached", "cwd-features"),
}


def all_pairs(factors):
    """Few rows that hold every pair of values of two factors: the best of some random rows each."""
    draw = random.Random(0)

    def pairs_of(row):
        return set(itertools.combinations(sorted(row.items()), 2))

    missing = set()
    for one, two in itertools.combinations(sorted(factors), 2):
        missing |= {((one, a), (two, b)) for a in factors[one] for b in factors[two]}
    rows = []
    while missing:
        (one, a), (two, b) = min(missing, key=str)
        tried = [
            {name: draw.choice(values) for name, values in factors.items()} | {one: a, two: b}
            for _ in range(50)
        ]
        rows.append(max(tried, key=lambda row: len(missing & pairs_of(row))))
        missing -= pairs_of(rows[-1])
    return rows


ROWS = all_pairs(FACTORS)


def named(row):
    return "-".join(str(value) for value in row.values() if value not in (False, 0.0, ""))


def half_precision_on_a_cpu(config):
    """What `make_fabric` gives on an older GPU, with the scaler of a CPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    plugin = MixedPrecision("16-mixed", device="cpu", scaler=scaler)
    return Fabric(accelerator="cpu", devices=1, plugins=plugin), "fp16"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher whose maps are wider than the student's, so that these need projections."""
    from conftest import FAST, write_part

    root = tmp_path_factory.mktemp("teacher")
    write_part(root / "set" / "train", 4)
    write_part(root / "set" / "validation", 2, 100)
    options = {"data": str(root / "set"), "out": str(root / "run"), "base_channels": 6}
    return medseg.train(**FAST | options | {"epochs": 1})["run"]


def options_of(row, teacher):
    kd = row["teacher"]
    options = {name: value for name, value in row.items() if name != "teacher"}
    if kd:
        options |= {"teacher": teacher, "kd": kd.split()[0], "kd_cache": kd.endswith("cached")}
    return options | {"epochs": 1}


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_every_pair_of_options_trains(fast, teacher, monkeypatch, row):
    options = options_of(row, teacher)
    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile(self, backend="eager"))
    monkeypatch.setattr(session.Validation, "report", lambda self, run: {})
    if row["precision"] == "fp16":
        monkeypatch.setattr(session, "make_fabric", half_precision_on_a_cpu)
        options["precision"] = "auto"
    torch.manual_seed(0)
    before = medseg.models.create_model("unet", base_channels=4).state_dict()
    session.train(config_from(fast | options))
    stored = torch.load(Path(fast["out"]) / "last.pt", weights_only=True)
    state = stored["training"]["state"]
    assert state["updates"] == (3 if row["accumulate"] == 1 else 2)
    weights = stored["training"]["raw"] or stored["weights"]
    assert all(value.isfinite().all() for value in weights.values())
    assert any(not torch.equal(value, before[key]) for key, value in weights.items())
    assert bool(stored["training"]["scaler"]) == (row["precision"] == "fp16")


def test_the_rows_hold_every_pair():
    for one, two in itertools.combinations(FACTORS, 2):
        held = {(row[one], row[two]) for row in ROWS}
        assert held == set(itertools.product(FACTORS[one], FACTORS[two]))
