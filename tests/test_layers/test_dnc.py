import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNC
from tests.helpers import equations
from tests.helpers.layer_maps import assert_equals_equations, random_maps, randomize, trained_bn

SHAPE = (4, 24, 5, 7)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_equations(fuse, dtype, batch, channels_last):
    layer = randomize(DNC(24, r=4, fuse=fuse).train(batch))
    if dtype == torch.float64:
        layer.double()
    x = random_maps(SHAPE, dtype, channels_last)
    assert_equals_equations(layer, equations.dnc, x, batch, fuse=fuse)


@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_equations_of_the_conditioned_form(fuse, batch):
    options = {'fuse': fuse, 'parameterization': 'conditioned', 'gain': 1.75}
    layer = randomize(DNC(24, r=4, g='oup', **options).train(batch))
    assert_equals_equations(layer, equations.dnc, random_maps(SHAPE), batch, **options)


@pytest.mark.parametrize(('r', 'g'), [(16, 1), (4, 2), (4, 'oup')])
@pytest.mark.parametrize('shape', [(3, 24, 1, 1), (1, 24, 4, 4)])
def test_equations_of_r_and_g(r, g, shape):
    layer = randomize(DNC(24, r=r, g=g))
    assert_equals_equations(layer, equations.dnc, random_maps(shape), True, fuse='fc1')


@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('mean', [10.0, 1000.0])
def test_equations_far_from_zero(mean, batch):
    layer = randomize(DNC(24, r=4), mean).train(batch)
    x = random_maps((4, 24, 20, 21), mean=mean)
    assert_equals_equations(layer, equations.dnc, x, batch, mean_over_std=mean)


@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_starts_as_bn_without_affine(fuse):
    layer, bn = DNC(24, fuse=fuse), nn.BatchNorm2d(24, affine=False)
    x = random_maps(SHAPE)
    assert torch.equal(layer(x), bn(x))


@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_from_bn_equals_the_bn(fuse):
    bn, x = trained_bn(), random_maps(SHAPE)
    torch.testing.assert_close(DNC.from_bn(bn, fuse=fuse)(x), bn(x), rtol=1e-6, atol=2e-6)


def test_inner_bn_alone_decides_about_statistics():
    layer = randomize(DNC(24, r=4)).train()
    layer.bn.eval()
    before = layer.bn.running_mean.clone()
    assert_equals_equations(layer, equations.dnc, random_maps(SHAPE), batch=False)
    assert torch.equal(layer.bn.running_mean, before)


def test_autocast_contract():
    layer, x = randomize(DNC(24)), random_maps(SHAPE, torch.bfloat16)
    expected = layer.eval()(x.float()).to(torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)
