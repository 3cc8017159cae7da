"""Chunks and layouts of the sums; the equations are tested with the layers."""

import pytest
import torch

from dn_mmdet.ops.backends import aten

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('chunk', [1, 50, 10**6])
def test_moments(layout, chunk, monkeypatch):
    monkeypatch.setattr(aten, 'CHUNK', chunk)
    x = (torch.randn(3, 5, 6, 7, dtype=torch.float64) + 100).contiguous(memory_format=layout)
    means, mean, var = aten.plane_moments(x)
    torch.testing.assert_close(means, x.flatten(2).mean(2))
    torch.testing.assert_close(mean, x.transpose(0, 1).flatten(1).mean(1))
    torch.testing.assert_close(var, x.transpose(0, 1).flatten(1).var(1, correction=0))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_of_large_maps_far_from_zero(layout):
    x = (torch.randn(4, 8, 128, 128) + 1000).contiguous(memory_format=layout)
    _, mean, var = aten.plane_moments(x)
    exact = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), exact.mean(1), rtol=0, atol=2e-4)
    torch.testing.assert_close(var.double(), exact.var(1, correction=0), rtol=2e-5, atol=0)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('small', [0, 10**6])
def test_products(layout, small, monkeypatch):
    monkeypatch.setattr(aten, 'SMALL', small)
    dy, x = (torch.randn(3, 5, 6, 7, dtype=torch.float64) for _ in range(2))
    mean = torch.randn(5, dtype=torch.float64)
    dy, x = (tensor.contiguous(memory_format=layout) for tensor in (dy, x))
    sums, products = aten.plane_products(dy, x, mean)
    torch.testing.assert_close(sums, dy.sum((2, 3)))
    torch.testing.assert_close(products, (dy * (x - mean[:, None, None])).sum((2, 3)))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_gradient(layout):
    dy, x = (torch.randn(3, 5, 6, 7).contiguous(memory_format=layout) for _ in range(2))
    scale, shift, slope = torch.randn(3, 5), torch.randn(3, 5), torch.randn(5)
    dx = aten.plane_gradient(dy, x, scale, slope, shift)
    expected = dy * scale[:, :, None, None] + x * slope[:, None, None] + shift[:, :, None, None]
    torch.testing.assert_close(dx, expected)
    assert dx.is_contiguous(memory_format=layout)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_affine(layout):
    x = torch.randn(3, 5, 6, 7).contiguous(memory_format=layout)
    scale, shift = torch.randn(3, 5), torch.randn(3, 5)
    y = aten.plane_affine(x, scale, shift)
    torch.testing.assert_close(y, x * scale[:, :, None, None] + shift[:, :, None, None])
    assert y.is_contiguous(memory_format=layout) and not y._is_view()
