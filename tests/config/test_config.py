"""Flags, YAML and keywords fill one schema by one set of rules."""

import dataclasses
import subprocess
import sys

import pytest
import yaml

from medseg.config import (
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    SynthesizeConfig,
    TrainConfig,
    arguments,
    dump,
    flatten,
    make,
    parse,
)
from medseg.config.fields import duration, size, specs
from medseg.errors import UserError

ALL = [TrainConfig, EvaluateConfig, PredictConfig, SynthesizeConfig, PrepareConfig]


def train(*argv: str) -> TrainConfig:
    return parse(TrainConfig, argv, prog="medseg train", about="")


@pytest.mark.parametrize("config_class", ALL)
def test_names_are_unique_across_sections_and_have_help(config_class):
    found = list(specs(config_class))
    assert len({spec.name for spec in found}) == len(found)
    assert all(spec.rules["help"] for spec in found)


@pytest.mark.parametrize("config_class", ALL)
def test_every_default_passes_its_own_check(config_class):
    for spec in specs(config_class):
        if spec.default is not dataclasses.MISSING:
            assert spec.convert(spec.default) == spec.default


def test_a_dumped_config_reads_back_equal():
    config = train(
        "--data",
        "x",
        "--size",
        "288x384",
        "--scale",
        ".5",
        "2",
        "--no-augment",
        "--time-budget",
        "1h30min",
        "--class-weights",
        "1",
        "2",
        "--out",
        "runs/a b",
        "--split",
        "none",
    )
    assert make(TrainConfig, yaml.safe_load(dump(config))) == config


def test_precedence_is_defaults_then_file_then_flags(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("data: x\nlr: 0.5\nbatch-size: 3\naugment: false\n")
    config = train("--config", str(file), "--lr", "0.25")
    assert (config.optim.lr, config.training.batch_size, config.training.epochs) == (0.25, 3, 100)
    assert config.augment.augment is False


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--data", "x", "--lr", "-1"], "--lr: got -1.0, expected a number above 0"),
        (["--data", "x", "--lr", "fast"], "--lr: got 'fast', expected a number above 0"),
        (["--data", "x", "--lr", "nan"], "--lr: got nan"),
        (
            ["--data", "x", "--batch-size", "2.5"],
            "--batch-size: got '2.5', expected a whole number of at least 1",
        ),
        (["--data", "x", "--modle", "unet"], "unknown flag --modle, did you mean --model?"),
        (["--data", "x", "--model", "unett"], "did you mean unet?"),
        (["--data", "x", "--size", "0"], "--size: got '0', expected a whole number of pixels"),
        (["--data", "x", "--scale", "1", "2", "3"], "--scale: got 1 2 3, expected 2 numbers"),
        (["--data", "x", "--time-budget", "soon"], "expected a time such as 90s"),
        (["--data", "x", "stray"], "unexpected argument 'stray'"),
        (["--data"], "--data: expected one argument"),
        ([], "--data is missing"),
    ],
)
def test_wrong_flags_are_one_line_with_a_remedy(argv, words):
    with pytest.raises(UserError) as error:
        train(*argv)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lrr: 1", "unknown key 'lrr', did you mean lr?"),
        ("lr: [1, 2]", "--lr: got 1 2, expected a number"),
        ("augment: 3", "--augment: got 3, expected true or false"),
        ("lr: 1\n b: : 2", "not a YAML file"),
        ("- lr", "expected lines such as"),
        ("model: resnet", "--model: got 'resnet'"),
    ],
)
def test_wrong_yaml_names_the_file(tmp_path, text, words):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        train("--data", "x", "--config", str(file))
    assert words in str(error.value)
    assert str(file) in str(error.value)


def test_a_missing_config_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        train("--data", "x", "--config", str(tmp_path / "none.yaml"))


def test_keywords_take_python_values():
    config = make(
        TrainConfig, {"data": "x", "size": (64, 96), "scale": [0.5, 2], "time_budget": 90}
    )
    assert config.data.size == (64, 96)
    assert config.augment.scale == (0.5, 2.0)
    assert config.training.time_budget == 90.0
    assert flatten(config)["size"] == [64, 96]


def test_arguments_holds_only_what_was_given():
    assert arguments(TrainConfig, ["--data", "x", "--lr", "1"], prog="p", about="") == {
        "data": "x",
        "lr": "1",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30min", 1800),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30min", 5400),
        (45, 45),
        ("1.5h", 5400),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0s", "-5s", "3 weeks", True])
def test_wrong_durations(text):
    with pytest.raises(ValueError):
        duration(text)


def test_sizes():
    assert size("352") == size(352) == size([352, 352]) == (352, 352)
    assert size("288x384") == (288, 384)


def test_help_names_every_flag_and_imports_no_torch():
    code = (
        "import sys\nfrom medseg.cli import main\ntry:\n    main(['train', '--help'])\nexcept"
        " SystemExit as e:\n    assert e.code == 0\nassert not {'torch', 'numpy', 'cv2', 'rich'} &"
        " sys.modules.keys(), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for spec in specs(TrainConfig):
        assert spec.flag in done.stdout
