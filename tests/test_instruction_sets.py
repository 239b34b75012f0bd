"""The numeric tests once more as an older CPU would run them.

PyTorch and oneDNN choose their kernels by the CPU, and the last bits of a result by the kernel. A
test that holds on one machine only by its last bits fails here, before it fails for a user.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NUMERIC = [
    f"tests/{name}"
    for name in (
        "augment",
        "cli",
        "contract/test_models_contract.py",
        "distill",
        "evaluation",
        "laws",
        "losses",
        "metrics",
        "models",
        "training",
    )
]
OLDER_CPU = {
    "ATEN_CPU_CAPABILITY": "default",  # PyTorch's kernels: no vector instructions beyond SSE
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # oneDNN's: no AVX-512, no bfloat16, no AMX
    "OMP_NUM_THREADS": "1",
}


@pytest.mark.slow
def test_numeric_tests_hold_under_another_instruction_set():
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-n", "2", "-m", "not slow", *NUMERIC]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment | OLDER_CPU,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
