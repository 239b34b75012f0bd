"""Two processes compute what one computes with the whole batch."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from medseg.config import Hardware
from medseg.errors import UserError
from medseg.hardware import pick_accelerator, pick_precision
from medseg.training.runtime import make_fabric, world_of
from medseg.training.sync_batch_norm import SyncBatchNorm, synchronise_batch_norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2),
    )


def batch():
    torch.manual_seed(1)
    return torch.randn(4, 3, 9, 7) * 3 + 1, torch.randn(4, 2, 9, 7)


def losses_and_gradients(model, x, weights):
    loss = (model(x) * weights).square().mean()
    loss.backward()
    return [p.grad for p in model.parameters()]


def one_of_two(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = synchronise_batch_norm(network(), "cpu").train()
    x, weights = (part[2 * rank : 2 * rank + 2] for part in batch())
    gradients = losses_and_gradients(model, x, weights)
    for gradient in gradients:
        dist.all_reduce(gradient)
        gradient /= 2
    if rank == 0:
        torch.save({"gradients": gradients, "state": model.state_dict()}, f"{folder}/result.pt")
    dist.destroy_process_group()


def test_batch_norm_over_two_processes_equals_one_with_the_whole_batch(tmp_path):
    model = network().train()
    gradients = losses_and_gradients(model, *batch())
    mp.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    for ours, whole in zip(result["gradients"], gradients, strict=True):
        torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-4)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(result["state"][key], value, atol=1e-5, rtol=1e-4)


def test_synchronising_keeps_the_state_dict_and_single_process_behaviour():
    plain, synced = network(), synchronise_batch_norm(network(), "cpu")
    assert [type(m) for m in synced if isinstance(m, nn.BatchNorm2d)] == [SyncBatchNorm] * 2
    assert plain.state_dict().keys() == synced.state_dict().keys()
    x, _ = batch()
    assert torch.equal(plain(x), synced(x))


def test_the_world_is_that_of_torchrun_when_it_started_us(monkeypatch):
    assert world_of(Hardware(devices=3, num_nodes=2)) == (3, 2)
    for key, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "LOCAL_WORLD_SIZE": "4",
        "WORLD_SIZE": "8",
    }.items():
        monkeypatch.setenv(key, value)
    assert world_of(Hardware(devices=1)) == (4, 2)


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has the GPU that the test asks for in vain"
)
def test_hardware_that_is_not_there_is_a_user_error():
    with pytest.raises(UserError, match="--accelerator cuda"):
        make_fabric(Hardware(accelerator="cuda"))
    assert pick_accelerator("auto") in ("cpu", "mps")


def test_half_precision_on_a_cpu_is_refused_with_a_remedy():
    with pytest.raises(UserError, match="use bf16, fp32 or auto"):
        pick_precision("fp16", "cpu")
    assert pick_precision("fp32", "cpu") == "fp32"


def test_threads_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # it would be taken as a wish
    before = torch.get_num_threads()
    try:
        make_fabric(Hardware(accelerator="cpu", devices=2, threads=0))
        assert torch.get_num_threads() == max(1, len(os.sched_getaffinity(0)) // 2)
    finally:
        torch.set_num_threads(before)
