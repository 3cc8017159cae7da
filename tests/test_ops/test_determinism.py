"""Same bits twice, and whatever the number of threads."""

import pytest
import torch

from dn_mmdet.layers import DNB
from dn_mmdet.ops import use_path
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.layer_maps import random_maps, randomize
from tests.helpers.library import NEEDS_LIBRARY

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def results(mode, dtype, layout, activation, samples):
    layer = randomize(DNB(40, r=4, activation=activation)).train(mode == 'training')
    x = random_maps((samples, 40, 33, 32), dtype, channels_last=layout == torch.channels_last)
    if mode == 'evaluation':
        with torch.no_grad():
            return [layer(x)]
    x.requires_grad_()
    y = layer(x)
    y.backward(random_maps(x.shape, dtype, seed=2))
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]


# Shared among threads by sample or within each, as their numbers divide.
@pytest.mark.parametrize('samples', [3, 9])
@pytest.mark.parametrize('mode', ['training', 'frozen', 'evaluation'])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(
    ('dtype', 'activation'), [(torch.float32, 'ReLU6'), (torch.bfloat16, None)]
)
@pytest.mark.parametrize('path', ['aten', pytest.param('cpp', marks=NEEDS_LIBRARY)])
def test_same_bits(path, dtype, activation, layout, mode, samples):
    """ATen alone may add in another order with other threads; it does not with the same."""
    threads = torch.get_num_threads()
    found = {}
    try:
        with use_path(path):
            for number in (1, 2, 3):
                torch.set_num_threads(number)
                found[number] = [
                    results(mode, dtype, layout, activation, samples) for _ in range(2)
                ]
    finally:
        torch.set_num_threads(threads)
    for first, second in found.values():
        assert all(torch.equal(*pair) for pair in zip_strict(first, second))
    for number in (2, 3):
        for a, b in zip_strict(found[1][0], found[number][0]):
            if path == 'cpp':
                assert torch.equal(a, b)
            else:
                torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)
