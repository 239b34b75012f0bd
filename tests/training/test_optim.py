"""Schedules, weight decay and the moving average."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import nn

from medseg.config import Optim
from medseg.training.optim import MovingAverage, lr_factor, make_optimizer, set_lr

SCHEDULES = ["onecycle", "poly", "cosine", "step", "constant"]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_stay_within_bounds_and_warm_up(schedule):
    config = Optim(schedule=schedule, warmup_epochs=10)
    factors = [lr_factor(config, i / 1000, 100) for i in range(1001)]
    assert all(0 <= f <= 1 for f in factors)
    assert factors[0] < 0.05 and factors[100] == pytest.approx(1, abs=1e-3)
    assert all(a <= b + 1e-12 for a, b in pairwise(factors[:101]))  # rises
    assert all(a >= b - 1e-12 for a, b in pairwise(factors[100:]))  # then falls


def test_final_values():
    end = {
        name: lr_factor(Optim(schedule=name, warmup_epochs=0, step_epochs=30), 1.0, 100)
        for name in SCHEDULES
    }
    assert end == pytest.approx(
        {"onecycle": 1e-4, "poly": 0, "cosine": 0, "step": 1e-3, "constant": 1}, abs=1e-9
    )


def test_a_warm_up_longer_than_training_is_cut():
    assert lr_factor(Optim(schedule="cosine", warmup_epochs=50), 0.5, 3) == pytest.approx(1)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_every_optimiser_learns_and_decays_only_matrices(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    optimizer = make_optimizer(model, Optim(optimizer=name, weight_decay=0.1), fused=False)
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {decays[id(p)] for p in model.parameters() if p.ndim > 1} == {0.1}
    assert {decays[id(p)] for p in model.parameters() if p.ndim == 1} == {0.0}
    x, y = torch.randn(4, 3, 8, 8), torch.randint(0, 2, (4, 8, 8))
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_encoder_takes_its_own_learning_rate():
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
    optimizer = make_optimizer(model, Optim(encoder_lr=0.1), fused=False)
    set_lr(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model["encoder"].weight)] == pytest.approx(0.05)
    assert rates[id(model["decoder"].bias)] == pytest.approx(0.5)


def test_the_moving_average_follows_its_formula_and_covers_batch_norm():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, 0.9)
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            model[0].weight.add_(1.0)
            model[1].running_mean.add_(0.5)
            model[1].num_batches_tracked.add_(1)
        decay = min(0.9, (1 + step) / (10 + step))
        average.update(model)
        for key, value in model.state_dict().items():
            mixed = (
                value
                if not value.is_floating_point()
                else decay * expected[key] + (1 - decay) * value
            )
            expected[key] = mixed.clone()
    for key, value in average.model.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert not torch.equal(average.model.state_dict()["0.weight"], model.state_dict()["0.weight"])


def test_momentum_is_honoured_by_sgd():
    model = nn.Linear(1, 1)
    optim = dataclasses.replace(Optim(), optimizer="sgd", momentum=0.8)
    assert make_optimizer(model, optim, fused=False).defaults["momentum"] == 0.8


@pytest.mark.parametrize("steps", [1, 7, 44])
@pytest.mark.parametrize("every", [1.0, 2.5, 7.0])
def test_the_step_schedule_steps_in_the_first_batch_of_its_epoch(steps, every):
    """Also where epoch / epochs * epochs is rounded to below the epoch, such as for 29 of 100."""
    config = Optim(schedule="step", warmup_epochs=0, step_epochs=every, step_factor=0.5)
    for epochs in range(1, 121):
        for epoch in range(epochs):
            progress = (epoch * steps) / (epochs * steps)
            assert lr_factor(config, progress, epochs) == 0.5 ** (epoch // every)
