"""The gradient of an update is that of all its images at once, however they are divided."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medseg import runs
from medseg.augment.batch import augment, follow_mask, sample
from medseg.config import Augment, Loss
from medseg.data.randomness import name_keys
from medseg.losses import BY_LOGITS, LOSSES, hybrid_loss
from medseg.preprocessing import Preprocessing
from medseg.training import learner
from medseg.training.resume import config_from
from medseg.training.session import train
from medseg.training.updates import _divisors

BY_MASKS = sorted(LOSSES.keys() - set(BY_LOGITS))


def case(k, images, seed, ignored):
    """Logits [images, K, 6, 7] and masks, of which each image ignores another share of pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, k, 6, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(0, k, (images, 6, 7), generator=generator, dtype=torch.uint8)
    for image, share in enumerate(ignored):
        target[image, torch.rand(6, 7, generator=generator) < share] = 255
    return logits, target


def gradient(loss, logits, target, divisors=None):
    """The value of a loss and its gradient with respect to the logits."""
    logits = logits.clone().requires_grad_()
    value, _ = loss(logits, target, divisors)
    value.backward()
    return value.detach(), logits.grad


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(BY_MASKS),
    k=st.sampled_from([2, 3]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
    ignored=st.lists(st.sampled_from([0.0, 0.1, 0.6, 1.0]), min_size=4, max_size=4),
)
def test_batches_of_an_update_are_one_batch(name, k, weighted, seed, ignored):
    logits, target = case(k, 4, seed, ignored)
    weights = (0.5, 2.0, 5.0)[:k] if weighted else None
    loss = hybrid_loss(Loss(loss=f"0.5*{name}+ce" if name != "ce" else name, class_weights=weights))
    value, whole = gradient(loss, logits, target)
    batches = target.split([2, 2])
    divisors = _divisors(loss, iter(batches), 1)
    shares = [
        gradient(loss, *each, divisors) for each in zip(logits.split([2, 2]), batches, strict=True)
    ]
    torch.testing.assert_close(sum(value for value, _ in shares) / 2, value, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(torch.cat([grad for _, grad in shares]) / 2, whole)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("ignored", [(1.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.2, 0.2)])
def test_a_batch_of_ignored_pixels_has_no_loss_and_no_gradient(name, ignored):
    logits, target = case(2, 4, 0, ignored)
    loss = hybrid_loss(Loss(loss=name))
    divisors = _divisors(loss, iter(target.split([2, 2])), 1)
    value, grad = gradient(loss, logits[:2], target[:2], divisors)
    assert value == 0 and not grad.any()


def test_masks_are_warped_ahead_as_they_are_in_the_step():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8))
    mask = torch.from_numpy(rng.choice(np.array([0, 1, 255], np.uint8), (3, 40, 50)))
    strength = Augment(blur=1.0)
    parameters = sample(strength, 0, 1, name_keys(["a", "b", "c"]))
    size = (32, 24)
    preprocessing = Preprocessing(size, mean=(0.5,) * 3, std=(0.2,) * 3)
    _, expected = augment(image, mask, parameters, strength, preprocessing)
    assert torch.equal(follow_mask(mask, parameters, strength, size), expected)


@pytest.fixture
def without_batch_norm(monkeypatch):
    """Networks with group norm, for which an image does not depend on the others of its batch."""
    create = learner.create_model

    def build(*arguments, **options):
        model = create(*arguments, **options)
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.GroupNorm(1, child.num_features))
        return model

    for module in (learner, runs):
        monkeypatch.setattr(module, "create_model", build)


PLAIN = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.05, "schedule": "constant", "epochs": 1}
PLAIN |= {"warmup_epochs": 0, "weight_decay": 0, "resize": "letterbox"}


def trained(options, name):
    """The last weights of a training."""
    folder = Path(options["out"]).with_name(name)
    train(config_from(options | {"out": str(folder)}))
    return torch.load(folder / "last.pt", weights_only=True)["weights"]


@pytest.mark.parametrize(
    "loss",
    [{"loss": "ce"}, {"loss": "0.5*focal+dice", "class_weights": (1.0, 4.0)}, {"loss": "bce"}],
    ids=["ce", "focal", "bce"],
)
def test_accumulated_batches_are_one_batch(fast, without_batch_norm, loss):
    options = fast | PLAIN | loss
    whole = trained(options | {"batch_size": 12}, "whole")
    parts = trained(options | {"batch_size": 4, "accumulate": 3}, "parts")
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, atol=2e-6, rtol=1e-4)


def test_the_last_update_of_an_epoch_may_have_fewer_batches(fast):
    options = fast | PLAIN | {"batch_size": 12}
    alone = trained(options, "alone")
    short = trained(options | {"accumulate": 4}, "short")
    assert alone.keys() == short.keys()
    assert all(torch.equal(value, short[key]) for key, value in alone.items())


TWO = Loss(loss="ce+focal+dice+ohem", class_weights=(1.0, 4.0))


def one_of_two(rank, folder):
    """The gradient that a process computes for its half of the images."""
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    logits, target = case(2, 4, 0, (0.0, 0.2, 0.9, 1.0))
    mine = slice(2 * rank, 2 * rank + 2)
    loss = hybrid_loss(TWO)
    divisors = _divisors(loss, iter([target[mine]]), 2)
    torch.save(gradient(loss, logits[mine], target[mine], divisors), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_divide_by_the_pixels_of_both(tmp_path):
    value, whole = gradient(hybrid_loss(TWO), *case(2, 4, 0, (0.0, 0.2, 0.9, 1.0)))
    mp.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    torch.testing.assert_close(sum(each for each, _ in shares) / 2, value, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.cat([grad for _, grad in shares]) / 2, whole)
