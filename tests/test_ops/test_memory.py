"""A thousand steps hold no more memory than a hundred.

``DN_MMDET_STEPS=100000`` in the environment makes that many.
"""

import gc
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB
from dn_mmdet.ops import recompute_outputs, use_path
from dn_mmdet.ops.recompute import _Offer
from tests.helpers.layer_maps import random_maps
from tests.helpers.library import NEEDS_LIBRARY

WARM, STEPS = 100, int(os.environ.get('DN_MMDET_STEPS', 1000))
# A map of the network is 32 KiB; one more kept in each step would be 32 MiB.
ALLOWED = 2**20
STATM = Path('/proc/self/statm')


def network():
    torch.manual_seed(0)
    return nn.Sequential(DNB(8, r=4, activation='ReLU6'), nn.Conv2d(8, 2, 1))


def resident():
    return int(STATM.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def living():
    """Number of tensors and of offers that Python can reach."""
    gc.collect()
    objects = gc.get_objects()
    return (
        sum(issubclass(type(each), torch.Tensor) for each in objects),
        sum(type(each) is _Offer for each in objects),
    )


@pytest.mark.skipif(not STATM.exists(), reason='asks Linux for the size of the process')
@pytest.mark.parametrize('path', ['reference', 'aten', pytest.param('cpp', marks=NEEDS_LIBRARY)])
def test_a_thousand_steps(path):
    """In training with outputs recomputed and kept in turn, then in evaluation."""
    model, x = network(), random_maps((4, 8, 16, 16)).requires_grad_()

    def step(number):
        with recompute_outputs() if number % 2 else nullcontext():
            loss = model(x).square().mean()
        model.zero_grad()
        x.grad = None
        loss.backward()

    with use_path(path):
        for number in range(WARM):
            step(number)
        before, size = living(), resident()
        gc.disable()  # What the collector alone can free would grow until it runs.
        try:
            for number in range(STEPS):
                step(number)
            trained = resident() - size
        finally:
            gc.enable()
        model.eval()
        with torch.no_grad():
            for _ in range(STEPS):
                model(x)
    assert trained < ALLOWED and resident() - size < ALLOWED
    tensors, offers = living()
    assert offers == 0 and tensors <= before[0]
