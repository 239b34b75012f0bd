"""--max-pixels holds for commands, Python functions and the processes of a trial alike."""

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest

import medseg
from medseg import cli
from medseg.cli import main
from medseg.config import SearchConfig, TrainConfig, make
from medseg.config.shared import MAX_PIXELS, Reading
from medseg.data.decode import read_image, set_max_pixels
from medseg.data.masks import MaskCoding
from medseg.errors import UserError
from medseg.search import trial_process

REFUSED = "pixels are more than --max-pixels 10"


@pytest.fixture(autouse=True)
def default_limit():
    """The limit holds for the whole process: put it back."""
    yield
    set_max_pixels(MAX_PIXELS)


@pytest.fixture
def run(fast):
    return medseg.train(**fast | {"epochs": 1})["run"]


def test_python_functions_refuse_large_images(fast, run, dataset, tmp_path):
    with pytest.raises(UserError, match=REFUSED):
        medseg.train(**fast | {"out": tmp_path / "other", "max_pixels": 10})
    with pytest.raises(UserError, match=REFUSED):
        medseg.train(make(TrainConfig, fast | {"out": tmp_path / "third", "max_pixels": 10}))
    with pytest.raises(UserError, match=REFUSED):
        medseg.evaluate(run, out=tmp_path / "e", max_pixels=10)
    images = str(dataset / "test" / "images")
    failed = medseg.predict(run, images, tmp_path / "p", max_pixels=10)["failed"]
    assert len(failed) == 5


def test_a_limit_of_one_call_does_not_hold_for_the_next(run, tmp_path):
    with pytest.raises(UserError, match=REFUSED):
        medseg.evaluate(run, out=tmp_path / "e", max_pixels=10)
    medseg.evaluate(run, out=tmp_path / "f")


def test_commands_refuse_large_images(run, dataset, tmp_path, capsys):
    images, out = str(dataset / "test" / "images"), str(tmp_path / "p")
    assert main(["evaluate", run, "--out", str(tmp_path / "e"), "--max-pixels", "10"]) == 2
    assert REFUSED in capsys.readouterr().err
    assert main(["predict", run, images, "--out", out, "--max-pixels", "10"]) == 1
    assert REFUSED in capsys.readouterr().err


def test_each_process_of_a_trial_refuses_large_images(dataset, tmp_path, monkeypatch):
    image = next((dataset / "train" / "images").iterdir())

    def objective(*_):
        with pytest.raises(UserError, match=REFUSED):
            read_image(image)
        return 0.5

    request = {
        "config": {"data": str(dataset), "max_pixels": 10},
        "dataset": {"name": "set", "split": "parts", "parts": {}},
        "coding": MaskCoding("binary-255", 2, "").to_dict(),
        "folds": 0,
        "study": {},
        "answer": str(tmp_path / "answer.json"),
    }
    (tmp_path / "request").write_text(json.dumps(request))
    monkeypatch.setenv(trial_process.ENVIRONMENT, str(tmp_path / "request"))
    monkeypatch.setattr(trial_process, "objective", objective)
    monkeypatch.setattr(trial_process, "_reporter", lambda: None)
    assert trial_process.main() == 0
    assert json.loads((tmp_path / "answer.json").read_text())["value"] == 0.5


@pytest.mark.parametrize("config_class", [TrainConfig, SearchConfig])
def test_the_limit_of_a_nested_section_is_found(config_class, monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "_function", lambda name: seen.append)
    cli._limit_pixels(make(config_class, {"data": "x", "max_pixels": 77}))
    assert seen == [77]


def test_a_resumed_run_may_change_the_limit_and_needs_none_written_down(run):
    file = Path(run) / "config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    assert any(line.startswith("max_pixels:") for line in lines)
    file.write_text("".join(line for line in lines if not line.startswith("max_pixels:")))
    assert main(["train", "--resume", str(run), "--epochs", "2", "--max-pixels", "99999"]) == 0


VERBS = {**cli.DATA, **{name: verb for name, verb in cli.VERBS.items() if name != "data"}}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_names_functions_that_exist(name):
    verb = VERBS[name]
    for target in filter(None, (verb.run, verb.show, verb.read)):
        module, function = target.split(":")
        parameters = inspect.signature(getattr(import_module(module), function)).parameters
        assert len(parameters) >= (2 if target == verb.show else 1), target


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_reads_images_has_the_limit(name):
    reads = {"check", "convert", "evaluate", "calibrate", "predict", "leaks", "split", "prepare"}
    nested = {"train", "search"}
    assert issubclass(VERBS[name].config, Reading) == (name in reads)
    data = make(VERBS[name].config, {"data": "x"}).data if name in nested else None
    assert isinstance(data, Reading) == (name in nested)
