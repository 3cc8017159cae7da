"""What tests leave out on an older torch."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch


def _numbers(version):
    return tuple(map(int, version.split('.')[:2]))


VERSION = _numbers(torch.__version__)


def needs_torch(version, why):
    """A mark: skip before this version of torch, (2, 4), which lacks something."""
    return pytest.mark.skipif(version > VERSION, reason=f'torch {torch.__version__} {why}')


needs_dynamic_export = needs_torch((2, 2), 'has no torch.export.Dim')
needs_saved_tensors = pytest.mark.skipif(
    not hasattr(torch._C._autograd.SavedTensor, 'data'),
    reason=f'torch {torch.__version__} does not show what a graph has saved',
)
FLOAT16 = pytest.param(
    torch.float16,
    marks=needs_torch((2, 2), 'has neither convolutions nor BatchNorm of float16 on a CPU'),
)


def require_interpreter():
    """Skip without Triton's interpreter, and with one that counts wrong."""
    pytest.importorskip('triton.runtime.interpreter')
    import triton

    if _numbers(triton.__version__) < (3, 2) and _numbers(np.__version__) >= (2, 0):
        pytest.skip(f'the interpreter of Triton {triton.__version__} needs NumPy 1')


def run_interpreted(file):
    """Run a file of tests under Triton's interpreter, which a process chooses when it starts."""
    require_interpreter()
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '--tb=short', file],
        cwd=Path(__file__).parents[2],
        env=os.environ | {'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
    )
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)


@contextmanager
def nothing_allowed():
    """torch's own allow-list, as in a process that never imported this package.

    Before torch 2.5 it cannot be had: the list is this package's.
    """
    if not hasattr(torch.serialization, 'get_safe_globals'):
        yield
        return
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)
