import pytest
import torch

from dn_mmdet.layers import SEBN
from tests.helpers import equations
from tests.helpers.layer_maps import assert_equals_equations, random_maps, randomize, trained_bn

SHAPE = (4, 24, 5, 7)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_equations(dtype, batch, channels_last):
    layer = randomize(SEBN(24, r=4).train(batch))
    if dtype == torch.float64:
        layer.double()
    x = random_maps(SHAPE, dtype, channels_last)
    assert_equals_equations(layer, equations.se_bn, x, batch)


@pytest.mark.parametrize('shape', [(3, 24, 1, 1), (1, 24, 4, 4)])
def test_equations_of_small_maps(shape):
    assert_equals_equations(randomize(SEBN(24)), equations.se_bn, random_maps(shape), True)


@pytest.mark.parametrize('batch', [True, False])
def test_autocast_contract(batch):
    layer, x = randomize(SEBN(24)).train(batch), random_maps(SHAPE, torch.bfloat16)
    expected = layer(x.float()).to(torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)


def test_bn_state_goes_to_the_inner_bn():
    bn, layer = trained_bn(), SEBN(24)
    start = layer.fc1_weight.clone()
    layer.load_state_dict(bn.state_dict())
    assert torch.equal(layer.fc1_weight, start)
    for name, value in bn.state_dict().items():
        assert torch.equal(layer.bn.state_dict()[name], value)


def test_own_state_round_trip():
    layer, other = randomize(SEBN(24)).eval(), SEBN(24).eval()
    other.load_state_dict(layer.state_dict())
    x = random_maps(SHAPE)
    assert torch.equal(layer(x), other(x))
