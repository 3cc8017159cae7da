import copy

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNC
from tests.helpers.layer_maps import random_maps, randomize, trained_bn

SHAPE = (4, 24, 5, 7)
KEYS = [
    'alpha_offset',
    'lambda_offset',
    'bn.running_mean',
    'bn.running_var',
    'bn.num_batches_tracked',
    'sc.fc1_weight',
    'sc.fc1_bias',
    'sc.fc2_weight',
]


def small_network(norm):
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.Sequential(norm), nn.ReLU())


@pytest.mark.parametrize('layer', [DNB, DNC])
def test_state_dict_keys(layer):
    assert list(layer(24).state_dict()) == KEYS


@pytest.mark.parametrize('layer', [DNB, DNC])
@pytest.mark.parametrize('start', ['identity', 'paper'])
def test_bn_state_in_a_network(layer, start):
    source = small_network(trained_bn()).eval()
    target = small_network(layer(24, start=start)).eval()
    first_weight = target[1][0].sc.fc1_weight.clone()
    assert str(target.load_state_dict(source.state_dict())) == '<All keys matched successfully>'
    x = random_maps((2, 3, 8, 8))
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)
    assert torch.equal(target[1][0].sc.fc1_weight, first_weight)
    assert target[1][0].bn.num_batches_tracked == 7


def test_bn_state_by_mmengine():
    load_state_dict = pytest.importorskip('mmengine.runner.checkpoint').load_state_dict
    source, target = small_network(trained_bn()).eval(), small_network(DNB(24)).eval()
    load_state_dict(target, source.state_dict(), strict=True)
    x = random_maps((2, 3, 8, 8))
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)


def test_bn_state_is_not_changed_by_loading():
    state = small_network(trained_bn()).state_dict()
    before = copy.deepcopy(state)
    target = small_network(DNB(24))
    target.load_state_dict(state)
    with torch.no_grad():
        target[1][0].alpha_offset.zero_()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in state)


@pytest.mark.parametrize('kwargs', [{'affine': False}, {'track_running_stats': False}])
def test_from_partial_bn(kwargs):
    bn, x = trained_bn(**kwargs), random_maps(SHAPE)
    torch.testing.assert_close(DNB.from_bn(bn)(x), bn(x), rtol=1e-6, atol=2e-6)


def test_from_bn_with_neither_statistics_nor_affine():
    bn = nn.BatchNorm2d(24, affine=False, track_running_stats=False)
    x = random_maps(SHAPE)
    layer = DNB.from_bn(bn, start='paper')
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-6, atol=2e-6)


def test_from_bn_keeps_dtype_and_mode():
    layer = DNB.from_bn(trained_bn().double().train())
    assert layer.training and layer.sc.fc1_weight.dtype == torch.float64


def test_own_state_round_trip():
    layer, other = randomize(DNB(24, r=4)).eval(), DNB(24, r=4).eval()
    other.load_state_dict(layer.state_dict())
    x = random_maps(SHAPE)
    assert torch.equal(layer(x), other(x))


@pytest.mark.parametrize('lost', ['sc.fc2_weight', 'bn.running_mean', 'alpha_offset'])
def test_missing_own_key_is_reported(lost):
    state = DNB(24).state_dict()
    del state[lost]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{lost}"'):
        DNB(24).load_state_dict(state)


def test_bn_of_another_width_is_reported():
    with pytest.raises(RuntimeError, match='size mismatch for bn.running_mean'):
        DNB(24).load_state_dict(trained_bn(32).state_dict())


def test_norm_without_statistics_is_reported():
    with pytest.raises(RuntimeError, match='Missing key.*"bn.running_mean"'):
        DNB(24).load_state_dict(nn.GroupNorm(1, 24).state_dict())
