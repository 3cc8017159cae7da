"""What tests leave out on an older torch."""

import pytest
import torch

VERSION = tuple(map(int, torch.__version__.split('.')[:2]))


def needs_torch(version, why):
    """A mark: skip before this version of torch, (2, 4), which lacks something."""
    return pytest.mark.skipif(version > VERSION, reason=f'torch {torch.__version__} {why}')


FLOAT16 = pytest.param(
    torch.float16,
    marks=needs_torch((2, 2), 'has neither convolutions nor BatchNorm of float16 on a CPU'),
)
