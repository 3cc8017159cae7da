"""Maps of more than 2**31 numbers, whose last ones a 32-bit offset does not reach.

Each test needs 9 GB of memory and about a minute: they run where DN_MMDET_LARGE_TESTS is 1.
"""

import os

import pytest
import torch

from dn_mmdet.layers import DNB
from dn_mmdet.ops import use_path
from dn_mmdet.ops.backends import cpp
from tests.helpers.library import NEEDS_LIBRARY

pytestmark = [
    NEEDS_LIBRARY,
    pytest.mark.skipif(
        os.environ.get('DN_MMDET_LARGE_TESTS') != '1',
        reason='needs 9 GB of memory: set DN_MMDET_LARGE_TESTS to 1',
    ),
]

N, C, SIZE = 2, 32, 5800
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=LAYOUTS)
def x(request):
    """1 everywhere, but 0 and 2 in turn in the last plane."""
    if request.param == torch.channels_last:
        maps = torch.ones(N, SIZE, SIZE, C, dtype=torch.bfloat16).permute(0, 3, 1, 2)
    else:
        maps = torch.ones(N, C, SIZE, SIZE, dtype=torch.bfloat16)
    assert maps.numel() > 2**31
    maps[-1, -1, ::2] = 0
    maps[-1, -1, 1::2] = 2
    return maps


def test_moments_and_products(x):
    means, mean, var = cpp.plane_moments(x)
    expected = torch.zeros(C)
    expected[-1] = 0.5
    torch.testing.assert_close(means, torch.ones(N, C))
    torch.testing.assert_close(mean, torch.ones(C))
    torch.testing.assert_close(var, expected, rtol=1e-5, atol=1e-7)
    sums, products = cpp.plane_products(x, x, torch.zeros(C))
    squares = torch.ones(N, C)
    squares[-1, -1] = 2
    torch.testing.assert_close(sums / SIZE**2, torch.ones(N, C))
    torch.testing.assert_close(products / SIZE**2, squares)


@pytest.mark.parametrize('training', [True, False])
def test_layer(x, training):
    layer = DNB(C, r=4, eps=0.5).train(training)
    with use_path('cpp'), torch.no_grad():
        y = layer(x)
    assert y.stride() == x.stride()
    low, high = (0 - 1, 2 - 1) if training else (0 / 1.5**0.5, 2 / 1.5**0.5)
    rest = 0 if training else 1 / 1.5**0.5
    for plane, values in (((0, 0), (rest, rest)), ((0, -1), (rest, rest)), ((-1, 0), (rest, rest)),
                          ((-1, -1), (low, high))):  # fmt: skip
        for row in (0, 1, -2, -1):
            found = y[(*plane, row)].float()
            torch.testing.assert_close(
                found, torch.full_like(found, values[row % 2]), rtol=1e-2, atol=1e-2
            )


def test_gradient(x):
    ones = torch.ones(N, C)
    dx = cpp.plane_gradient(x, x, 2 * ones, -0.5 * torch.ones(C), 3 * ones)
    for plane in ((0, 0), (-1, 0), (-1, -1)):
        for row in (0, -1):
            expected = 3 + 1.5 * x[(*plane, row)]
            assert torch.equal(dx[(*plane, row)], expected)
