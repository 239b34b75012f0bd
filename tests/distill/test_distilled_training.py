"""Distillation in training: composed with every other part, and gone at weight 0."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import medseg
from conftest import FAST, write_part
from medseg.cli import main
from medseg.config import SearchConfig, TrainConfig, arguments, make, parse
from medseg.errors import Interrupted, UserError
from medseg.files import read_csv
from medseg.losses import hybrid_loss
from medseg.models import create_model
from medseg.search.conduct import training_of
from medseg.training import loop as engine
from medseg.training.resume import config_from
from medseg.training.session import train
from medseg.training.tasks import (
    DeepSupervisedTask,
    DistilledTask,
    SupervisedTask,
    TaskBatch,
    make_task,
)

TEACHER = {"base_channels": 8, "size": 64, "seed": 9}


def weights(run, file="last.pt"):
    return torch.load(f"{run}/{file}", weights_only=True)["weights"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def flags(options):
    words = []
    for key, value in options.items():
        name = key.replace("_", "-")
        words += (
            [f"--{'' if value else 'no-'}{name}"]
            if isinstance(value, bool)
            else [f"--{name}", str(value)]
        )
    return words


@pytest.fixture
def teacher(fast, tmp_path):
    return medseg.train(**fast | TEACHER | {"epochs": 1, "out": str(tmp_path / "teacher")})["run"]


class SquaredLogits(torch.nn.Module):
    """In the place of `DistillationLoss`: a term that is easy to know."""

    names = ()

    def forward(self, logits, features, image, teacher_logits=None):
        squared = logits.square().mean()
        return 0.5 * squared, {"kd-kl": squared.detach()}


def test_the_distilled_task_composes_with_any_other():
    net = create_model("unetpp", base_channels=2, auxiliary=True).eval()
    image, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 2, (2, 32, 32)).to(torch.uint8)
    batch = TaskBatch(image, mask)
    for task in (SupervisedTask(net, hybrid_loss()), DeepSupervisedTask(net, hybrid_loss())):
        expected, parts = task(batch)
        extra = 0.5 * net(image).square().mean()
        loss, more = DistilledTask(task, SquaredLogits(), 3.0)(batch)
        torch.testing.assert_close(loss, expected + 3.0 * extra)
        assert list(more) == [*parts, "kd-kl"]
        assert torch.equal(DistilledTask(task, SquaredLogits(), 0.0)(batch)[0], expected)


def test_a_task_is_the_network_and_its_projections_and_not_its_teachers():
    net = create_model("unet", base_channels=2)
    task = DistilledTask(SupervisedTask(net, hybrid_loss()), SquaredLogits(), 1.0)
    assert task.network is net
    assert [id(p) for p in task.parameters()] == [id(p) for p in net.parameters()]


def test_the_loss_of_a_task_is_computed_in_float32_under_autocast():
    net = create_model("unet", base_channels=2).eval()
    image, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 2, (2, 32, 32)).to(torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(image.bfloat16())
        loss, _ = SupervisedTask(net, hybrid_loss())(TaskBatch(image, mask))
    assert logits.dtype == torch.bfloat16
    assert torch.equal(loss, hybrid_loss()(logits.float(), mask)[0])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kd": "kl+mse+cwd+dist+boundary+attention+cwd-features"},
        {"kd_cache": True},
        {"model": "unetpp", "auxiliary": True},
    ],
    ids=["kl", "all terms", "cache", "auxiliary"],
)
def test_weight_zero_is_the_training_without_a_teacher(fast, teacher, tmp_path, options):
    with_teacher = {"teacher": teacher, "kd_weight": 0}
    plain = {key: value for key, value in options.items() if not key.startswith("kd")}
    medseg.train(**fast | plain)
    medseg.train(**fast | options | with_teacher | {"out": str(tmp_path / "taught")})
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "taught"))
    rows = [read_csv(tmp_path / name / "metrics.csv") for name in ("run", "taught")]
    for a, b in zip(*rows, strict=True):
        assert all(a[key] == b[key] for key in a.keys() - {"seconds", "images_per_second"})
        assert any(key.startswith("loss/kd-") for key in b)
    medseg.train(
        **fast | options | with_teacher | {"kd_weight": 1, "out": str(tmp_path / "learning")}
    )
    assert not equal(weights(tmp_path / "run"), weights(tmp_path / "learning"))


@pytest.mark.parametrize(
    "options",
    [
        {"model": "unetpp", "auxiliary": True, "kd": "kl+cwd-features"},
        {
            "model": "smp",
            "encoder": "resnet18",
            "encoder_weights": "none",
            "base_channels": None,
            "kd": "dist+attention",
        },
        {"resize": "letterbox", "kd_cache": True},
        {"resize": "native-crop", "size": (32, 48)},
        {"channels": 1, "precision": "bf16"},
        {"accumulate": 2, "clip": 1.0, "kd": "cwd-features", "optimizer": "sgd"},
        {"augment": False, "kd_cache": True},
    ],
    ids=lambda options: (
        next(iter(options.values()))
        if isinstance(next(iter(options.values())), str)
        else next(iter(options))
    ),
)
def test_every_kind_of_training_learns_from_a_teacher(fast, teacher, tmp_path, options):
    result = medseg.train(
        **{
            key: value
            for key, value in (fast | {"epochs": 1, "teacher": teacher} | options).items()
            if value is not None
        }
    )
    assert result["summaries"]["test"]["n_images"] == 5


def test_the_students_checkpoint_is_a_plain_student(fast, teacher, tmp_path):
    run = medseg.train(**fast | {"teacher": teacher, "kd": "cwd-features", "ema": 0.9})["run"]
    medseg.train(**fast | {"out": str(tmp_path / "plain"), "ema": 0.9})
    stored, plain = (
        torch.load(f"{each}/last.pt", weights_only=True) for each in (run, tmp_path / "plain")
    )
    assert (
        stored["weights"].keys() == plain["weights"].keys()
        and stored["network"] == plain["network"]
    )
    layers = stored["training"]["distill"]["projections"]
    assert [tuple(each.shape) for each in layers.values()] == [(128, 64, 1, 1)]
    assert "training" not in torch.load(f"{run}/best.pt", weights_only=True)
    assert medseg.train(**fast | {"init": run, "out": str(tmp_path / "next")})["summaries"]


def stop_after(monkeypatch, steps):
    from contextlib import nullcontext

    from medseg.training import session as module

    seen, step, stop = [], engine.step, module.stop_on_signals
    monkeypatch.setattr(engine, "step", lambda *arguments: seen.append(1) or step(*arguments))
    monkeypatch.setattr(module, "stop_on_signals", lambda: nullcontext(lambda: len(seen) >= steps))
    return lambda: (
        monkeypatch.setattr(engine, "step", step),
        monkeypatch.setattr(module, "stop_on_signals", stop),
    )


@pytest.mark.parametrize(
    "options",
    [{"kd": "kl+cwd-features", "ema": 0.9}, {"kd": "dist", "kd_cache": True}],
    ids=["ema", "cache"],
)
def test_a_resumed_run_repeats_one_that_was_not_stopped(
    fast, teacher, tmp_path, monkeypatch, options
):
    fast = fast | {"epochs": 3, "teacher": teacher} | options
    train(config_from(fast | {"out": str(tmp_path / "whole")}))
    undo = stop_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        train(config_from(fast | {"out": str(tmp_path / "halves")}))
    undo()
    train(config_from({"resume": str(tmp_path / "halves")}))
    whole, halves = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "halves")
    )
    assert equal(whole["weights"], halves["weights"])
    if "cwd-features" in options["kd"]:
        assert equal(*(each["training"]["distill"]["projections"] for each in (whole, halves)))
    for a, b in zip(
        *(read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "halves")), strict=True
    ):
        assert all(a[key] == b[key] for key in a.keys() - {"seconds", "images_per_second"})


def test_a_resumed_run_keeps_its_teacher(fast, teacher, tmp_path):
    run = medseg.train(**fast | {"teacher": teacher, "epochs": 1})["run"]
    Path(teacher).rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"--teacher .*no such run folder"):
        medseg.train(resume=run, epochs=2)
    assert medseg.train(resume=run, epochs=2, teacher=str(tmp_path / "moved"))["summaries"]
    with pytest.raises(UserError, match="a resumed run keeps the teachers"):
        medseg.train(resume=run, epochs=3, teacher=run)


def test_several_teachers_by_either_spelling():
    def parsed(*words):
        values = arguments(TrainConfig, ["--data", "x", *words], prog="medseg train", about="")
        return make(TrainConfig, values).distill.teacher

    assert (
        parsed("--teacher", "a", "--teacher", "b")
        == parsed("--teacher", "a", "b")
        == (Path("a"), Path("b"))
    )
    assert parsed() is None


def test_a_search_takes_the_flags(tmp_path):
    config = parse(
        SearchConfig,
        ["--data", "x", "--teacher", "a", "--teacher", "b", "--kd", "cwd"],
        prog="medseg search",
        about="",
    )
    base = training_of(config)
    assert base.distill.teacher == (Path("a"), Path("b")) and base.distill.kd == "cwd"


def test_a_teacher_that_has_seen_the_test_images_is_told_of(fast, dataset, tmp_path, capsys):
    lists = tmp_path / "lists"
    lists.mkdir()
    for part, numbers in (
        ("train", range(200, 205)),
        ("validation", range(100, 104)),
        ("test", range(12)),
    ):
        (lists / f"{part}.txt").write_text("".join(f"frame{i:03}\n" for i in numbers))
    words = flags(FAST)
    flat = tmp_path / "flat"
    for count, first in ((12, 0), (4, 100), (5, 200)):
        write_part(tmp_path / str(first), count, first)
        for kind in ("images", "masks"):
            (flat / kind).mkdir(parents=True, exist_ok=True)
            for path in (tmp_path / str(first) / kind).iterdir():
                path.rename(flat / kind / path.name)
    assert (
        main(
            [
                "train",
                "--data",
                str(flat),
                "--split",
                str(lists),
                *words,
                "--epochs",
                "1",
                "--out",
                str(tmp_path / "t"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert (
        main(
            [
                "train",
                *words,
                "--data",
                str(dataset),
                "--epochs",
                "1",
                "--teacher",
                str(tmp_path / "t"),
                "--out",
                str(tmp_path / "s"),
            ]
        )
        == 0
    )
    assert (
        "trained on 5 images with names of the test part, such as frame200"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kd": "cwd"}, "--kd cwd: needs a network to learn from; add --teacher RUN"),
        ({"kd_temperature": 2}, "--kd-temperature 2.0: needs a network"),
        ({"kd_weight": 0.5}, "--kd-weight 0.5: needs a network"),
        ({"kd_cache": True}, "--kd-cache: needs a network"),
        ({"teacher": "/nowhere/run"}, "--teacher /nowhere/run: no such run folder"),
        ({"teacher": True, "kd": "kll"}, "unknown distillation term 'kll', did you mean kl?"),
        (
            {"teacher": True, "kd": "mse", "kd_temperature": 2},
            "--kd-temperature applies to kl, cwd",
        ),
        (
            {"teacher": True, "kd": "kl+attention", "kd_cache": True},
            "--kd-cache: keeps logits, and attention needs feature maps",
        ),
        (
            {"teacher": True, "kd_cache": True, "resize": "native-crop"},
            "--kd-cache: works with --resize square and letterbox",
        ),
        (
            {"teacher": True, "kd_temperature": 0},
            "--kd-temperature: got 0.0, expected a number above 0",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_wrong_options_are_one_line(fast, teacher, options, words):
    options = options | ({"teacher": teacher} if options.get("teacher") is True else {})
    with pytest.raises(UserError) as error:
        medseg.train(**fast | options)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_teacher_and_one_of_other_classes_are_refused(fast, teacher):
    path = Path(teacher) / "best.pt"
    stored = torch.load(path, weights_only=True)
    torch.save(stored | {"classes": 5}, path)
    with pytest.raises(UserError, match=r"--teacher .*: knows 5 classes, the data set has 2"):
        medseg.train(**fast | {"teacher": teacher})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"--teacher .*best\.pt: is damaged"):
        medseg.train(**fast | {"teacher": teacher})
    assert not Path(fast["out"]).exists()


def in_processes(devices, options):
    done = subprocess.run(
        [sys.executable, "-m", "medseg", "train", *flags(options | {"devices": devices})],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(options["out"] / "last.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"kd": "kl+cwd-features"},
        {"model": "unetpp", "auxiliary": True, "kd": "kl", "kd_cache": True},
    ],
    ids=["projections", "auxiliary and cache"],
)
def test_two_processes_match_one(fast, teacher, tmp_path, options):
    fast = (
        fast
        | {
            "optimizer": "sgd",
            "lr": 0.005,
            "epochs": 2,
            "size": 64,
            "batch_size": 6,
            "teacher": teacher,
        }
        | options
    )
    one, two = (
        in_processes(devices, fast | {"out": tmp_path / str(devices)}) for devices in (1, 2)
    )
    for key, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][key], value, atol=5e-3, rtol=5e-2)
    for a, b in zip(*(read_csv(tmp_path / name / "metrics.csv") for name in "12"), strict=True):
        for key in (key for key in a if key.startswith("loss")):
            assert a[key] == pytest.approx(b[key], rel=1e-2), key
    if "cwd-features" in options["kd"]:
        start = in_processes(1, fast | {"out": tmp_path / "start", "lr": 1e-12, "epochs": 1})
        before, ours, theirs = (
            each["training"]["distill"]["projections"]["layers.0.weight"]
            for each in (start, one, two)
        )
        assert ((theirs - before) - (ours - before)).norm() < 0.05 * (ours - before).norm()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"kd": "kl+attention"}, {"kd": "kl", "model": "unetpp", "auxiliary": True}],
    ids=["features", "auxiliary"],
)
def test_compiled_training_is_the_same(fast, teacher, tmp_path, monkeypatch, options):
    fast = fast | {"teacher": teacher, "epochs": 1} | options
    medseg.train(**fast)
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda self: (
            compiled.append(1)
            or setattr(
                self, "_compiled_call_impl", torch.compile(self._call_impl, backend="aot_eager")
            )
        ),
    )  # the default takes minutes
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    medseg.train(**fast | {"compile": True, "out": str(tmp_path / "compiled")})
    assert compiled and torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    rows = [read_csv(tmp_path / name / "metrics.csv")[0] for name in ("run", "compiled")]
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-3)


def test_a_task_without_a_teacher_is_what_it_was():
    task = make_task(make(TrainConfig, {"data": "x"}), create_model("unet", base_channels=2))
    batch = TaskBatch(torch.randn(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.uint8))
    loss, parts = task(batch)
    assert loss.isfinite() and list(parts) == ["ce", "dice"]
