"""What `auto` means, and what is not there."""

import pytest

from medseg import hardware
from medseg.errors import UserError
from medseg.hardware import cores, pick_accelerator, pick_precision, threads


def test_threads_are_an_even_share_or_as_wished(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert threads() == cores() and threads(10_000) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1 and threads(wanted=cores()) == cores()
    assert threads(wanted=10_000) == cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "10000")
    assert threads() == cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # torchrun set the variable, not the user
    assert threads() == cores()


def test_what_is_not_there_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_accelerator("auto") in ("cpu", "mps")
    with pytest.raises(
        UserError, match=r"--accelerator cuda: .*; use --accelerator auto or one of: cpu"
    ):
        pick_accelerator("cuda")
    with pytest.raises(UserError, match="CPUs have no fp16 training"):
        pick_precision("fp16", "cpu")
    assert pick_precision("auto", "cpu") in ("bf16", "fp32")
    assert pick_precision("fp32", "cuda") == "fp32"


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "vendor", "expected"),
    [
        (True, True, "GenuineIntel", "bf16"),
        (False, True, "GenuineIntel", "fp32"),
        (False, True, "AuthenticAMD", "bf16"),
        (False, False, "AuthenticAMD", "fp32"),
        (None, None, "", "fp32"),
    ],
)
def test_bf16_on_cpus_that_multiply_it_faster(monkeypatch, amx, avx512_bf16, vendor, expected):
    import torch

    monkeypatch.setattr(hardware, "_cpu_vendor", lambda: vendor)
    for name, there in (
        ("_is_amx_tile_supported", amx),
        ("_is_avx512_bf16_supported", avx512_bf16),
    ):
        if there is None:
            monkeypatch.delattr(torch.cpu, name, raising=False)  # an older PyTorch
        else:
            monkeypatch.setattr(torch.cpu, name, lambda there=there: there, raising=False)
    assert pick_precision("auto", "cpu") == expected
