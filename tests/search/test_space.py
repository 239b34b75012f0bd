"""A space file names config paths; whatever is wrong with it is said before the first trial."""

import pytest

from medseg.config import TrainConfig, flatten, make
from medseg.errors import UserError
from medseg.search.space import configure, parameter, read_space, suggest

BASE = make(TrainConfig, {"data": "x"})


class Draw:
    """Stands for an Optuna trial: takes the end of each range, or the choice, that it is told."""

    def __init__(self, high=True):
        self.high, self.asked = high, []

    def suggest_categorical(self, path, choices):
        self.asked.append(path)
        return choices[-1 if self.high else 0]

    def suggest_float(self, path, low, high, **_):
        self.asked.append(path)
        return high if self.high else low

    suggest_int = suggest_float


def space(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    return read_space(tmp_path / "space.yaml", BASE)


def test_every_path_reaches_its_option_and_no_other(tmp_path):
    found = space(
        tmp_path,
        "optim.lr: {low: 0.001, high: 0.1, log: true}\nscale.1: {low: 1.2, high: 2}\nhflip: [0,"
        " 0.25]\nloss: [ce, ohem+dice]\nloss.dice: {low: 0.5, high: 3}\nwarmup-epochs: {low: 1,"
        " high: 5}\nsize: [32, 48x64]\nbase_channels: {low: 4, high: 16, step: 4}\n",
    )
    values = suggest(found, BASE, Draw())
    flat, before = flatten(configure(BASE, found, values)), flatten(BASE)
    changed = {key: flat[key] for key in flat if flat[key] != before[key]}
    assert changed == {
        "lr": 0.1,
        "scale": [0.75, 2],
        "hflip": 0.25,
        "loss": "1*ohem+3*dice",
        "warmup_epochs": 5.0,
        "size": [48, 64],
        "base_channels": 16,
    }


def test_a_weight_is_asked_for_only_where_the_loss_has_the_term(tmp_path):
    found = space(tmp_path, "loss.dice: {low: 0.5, high: 3}\nloss: [ce, ce+dice]\n")
    with_dice, without = Draw(), Draw(high=False)
    assert configure(BASE, found, suggest(found, BASE, with_dice)).loss.loss == "1*ce+3*dice"
    assert configure(BASE, found, suggest(found, BASE, without)).loss.loss == "ce"
    assert (with_dice.asked, without.asked) == (["loss", "loss.dice"], ["loss"])


def test_the_default_space_is_the_originals():
    found = {each.path: each for each in read_space(None, BASE)}
    assert found["lr"].ends == (1e-3, 1e-1) and found["lr"].log
    assert set(found["optimizer"].values) == {"sgd", "adam", "adamw"} and {"ce", "ohem"} < set(
        found["loss"].values
    )
    assert {
        "ema",
        "scale.0",
        "scale.1",
        "brightness",
        "contrast",
        "saturation",
        "hflip",
        "vflip",
        "loss.dice",
    } < found.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lrr: [1]", "lrr: no such option, did you mean lr?"),
        ("optim.hflip: [0.5]", "optim.hflip: no such option"),
        ("lr: [0.1, -1]", "lr: --lr: got -1.0, expected a number above 0"),
        ("lr: {low: 0, high: 1}", "lr: --lr: got 0"),
        ("lr: {low: 1, high: 0.1}", "expected low below high"),
        ("lr: {low: 0.1}", "needs low and high"),
        ("lr: {low: 0.1, high: 1, loog: true}", "unknown key of lr 'loog', did you mean log?"),
        ("lr: {low: 0.1, high: 1, log: true, step: 0.1}", "no log beside it"),
        ("hflip: {low: 0, high: 2}", "hflip: --hflip: got 2"),
        ("optimizer: [adm]", "did you mean adam"),
        ("optimizer: {low: 1, high: 2}", "expected one of sgd"),
        ("loss: [cee]", "unknown loss 'cee'"),
        ("loss.dise: {low: 1, high: 2}", "did you mean dice?"),
        ("loss.dice: {low: -1, high: 2}", "not a number above 0"),
        ("scale.2: [1]", "expected scale or scale.0 to scale.1"),
        ("lr.0: [1]", "lr has no part '0'"),
        ("scale.0: {low: 0.5, high: 3}", "the lowest factor comes first"),
        ("encoder: [resnet18]", "belongs to --model smp"),
        ("epochs: [1, 2]", "cannot be searched"),
        ("data: [a, b]", "cannot be searched"),
        ("split: [a, b]", "cannot be searched"),
        ("devices: [1, 2]", "cannot be searched"),
        ("lr: 0.1", "expected a list of choices or a mapping"),
        ("lr: []", "an empty list"),
        ("lr: [1, 1]", "lists a choice twice"),
        ("lr: [1]\noptim.lr: [2]", "stands for the same as lr"),
        ("", "holds no path"),
        ("- lr", "expected lines such as"),
    ],
)
def test_a_wrong_space_is_refused(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        space(tmp_path, text)
    assert said in str(error.value) and str(error.value).startswith(
        f"--space {tmp_path / 'space.yaml'}: "
    )
    assert "\n" not in str(error.value)


def test_whole_numbers_stay_whole():
    assert parameter("base_channels", {"low": 4, "high": 16}).whole
    assert not parameter("hflip", {"low": 0, "high": 1}).whole
