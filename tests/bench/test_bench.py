"""`medseg bench` measures two ways in turns; a variant that fails says so in one line."""

import json
import os
import time

import pytest

from medseg.bench.bench import summary_text
from medseg.bench.steps import with_scaled_stages
from medseg.bench.turns import Reading, in_turns, peak_memory
from medseg.cli import main
from medseg.errors import UserError


def steady(seconds, marks):
    def turn():
        with open(marks, "a", encoding="utf-8") as file:
            file.write(f"{seconds} ")
        return Reading(10, seconds, {"first": seconds / 4, "second": seconds / 2})

    return turn


def grows(size):
    kept = bytearray(size)
    return lambda: Reading(len(kept[:1]), 1.0)


def refuses():
    raise UserError("cannot work; do this")


def dies():
    os._exit(9)


@pytest.mark.slow
def test_turns_alternate_and_medians_are_told(tmp_path):
    marks = tmp_path / "marks"
    found = in_turns(
        {"a": (steady, (2.0, marks)), "b": (steady, (5.0, marks))}, seconds=0, rounds=3
    )
    assert marks.read_text().split() == ["2.0", "5.0"] * 4  # once to warm up, then three rounds
    assert found["a"]["images_per_second"] == 5 and found["b"]["images_per_second"] == 2
    assert found["a"]["turns"] == 3 and found["a"]["stages"] == {"first": 0.25, "second": 0.5}


def test_stages_are_scaled_to_the_whole_turn():
    """Those of every fourth step stand for all: their sum is the turn, their ratio what it was."""
    stages = {"data": 0.25, "backward": 0.75}
    scaled = with_scaled_stages(lambda: Reading(8, 4.0, dict(stages)))()
    assert scaled == Reading(8, 4.0, {"data": 1.0, "backward": 3.0})
    assert with_scaled_stages(lambda: Reading(8, 4.0))() == Reading(8, 4.0)


@pytest.mark.slow
def test_memory_is_that_of_each_process():
    found = in_turns(
        {"small": (grows, (1,)), "large": (grows, (300 * 2**20,))}, seconds=0, rounds=1
    )
    assert 250 < found["large"]["peak_memory_mib"] - found["small"]["peak_memory_mib"] < 350
    assert peak_memory() > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("maker", "words"), [(refuses, "cannot work; do this"), (dies, "lower --batch-size")]
)
def test_a_variant_that_fails(maker, words):
    started = time.monotonic()
    with pytest.raises(UserError, match=words):
        in_turns({"bad": (maker, ())}, seconds=600)
    assert time.monotonic() - started < 400


@pytest.mark.slow
@pytest.mark.parametrize("what", ["train", "predict", "latency", "data"])
def test_bench_from_the_command_line(what, capsys):
    assert (
        main(
            [
                "bench",
                what,
                "--base-channels",
                "4",
                "--size",
                "32",
                "--batch-size",
                "2",
                "--seconds",
                "0.1",
                "--threads",
                "1",
                "--json",
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["speedup"] > 0 and result["memory_ratio"] > 0
    assert {"images_per_second", "peak_memory_mib", "stages"} <= result["fast"].keys()
    if what == "train":
        assert set(result["fast"]["stages"]) == {
            "data",
            "augmentation",
            "forward and loss",
            "backward",
            "optimiser",
        }
        assert all(0 < share <= 1 for share in result["fast"]["stages"].values())
    assert f"{what}: {result['speedup']:.2f} times the baseline" in summary_text(result)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["bench", "training"], "did you mean train?"),
        (["bench", "train", "--model", "unet", "--encoder", "resnet18"], "belongs to --model smp"),
        (["bench", "train", "--size", "0"], "--size"),
        (["bench", "train", "--accelerator", "cuda"], "--accelerator cuda"),
    ],
)
def test_wrong_use(argv, words, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(argv) == 2
    assert words in capsys.readouterr().err
