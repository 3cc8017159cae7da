import re

import pytest
import torch

from dn_mmdet.layers import DNB, DNC, SEBN, SCModule


@pytest.mark.parametrize('layer', [DNB, DNC, SEBN])
@pytest.mark.parametrize(
    ('name', 'value', 'error'),
    [
        ('num_features', 0, ValueError),
        ('num_features', -3, ValueError),
        ('num_features', 24.0, TypeError),
        ('num_features', True, TypeError),
        ('num_features', '24', TypeError),
        ('r', 0, ValueError),
        ('r', 1.5, TypeError),
        ('r', False, TypeError),
        ('r', None, TypeError),
        ('eps', 0, ValueError),
        ('eps', -1e-5, ValueError),
        ('eps', float('nan'), ValueError),
        ('eps', '1e-5', TypeError),
        ('momentum', -0.1, ValueError),
        ('momentum', 1.1, ValueError),
        ('momentum', float('nan'), ValueError),
        ('momentum', True, TypeError),
        ('requires_grad', 1, TypeError),
        ('track_running_stats', 'yes', TypeError),
    ],
)
def test_arguments_of_all_layers(layer, name, value, error):
    with pytest.raises(error, match=f'{name} must .*{re.escape(str(value))}'):
        layer(**{'num_features': 24, name: value})


@pytest.mark.parametrize(
    ('layer', 'name', 'value', 'error'),
    [
        (DNB, 'g', 0, ValueError),
        (DNB, 'g', 2.0, TypeError),
        (DNB, 'g', True, TypeError),
        (DNB, 'g', 'out', ValueError),
        (DNB, 'g', None, TypeError),
        (DNB, 'start', 'zero', ValueError),
        (DNB, 'start', None, ValueError),
        (DNB, 'sc_input', 'gap', ValueError),
        (DNB, 'detach_gap', 'no', TypeError),
        (DNB, 'parameterization', 'ntk', ValueError),
        (DNB, 'gain', 0, ValueError),
        (DNB, 'gain', float('inf'), ValueError),
        (DNB, 'gain', 1e39, ValueError),
        (DNB, 'gain', 1e-50, ValueError),
        (DNB, 'gain', 'gamma', ValueError),
        (DNB, 'gain', True, TypeError),
        (DNB, 'gain', None, TypeError),
        (DNC, 'parameterization', None, ValueError),
        (DNC, 'gain', -1.0, ValueError),
        (DNC, 'g', 'all', ValueError),
        (DNC, 'fuse', 'fc3', ValueError),
        (DNC, 'fuse', 1, ValueError),
    ],
)
def test_arguments_of_one_layer(layer, name, value, error):
    with pytest.raises(error, match=f'{name} must .*{re.escape(str(value))}'):
        layer(24, **{name: value})


def test_arguments_of_the_sc_module():
    with pytest.raises(TypeError, match='num_channels must be an int, got 24.0'):
        SCModule(24.0)


@pytest.mark.parametrize('layer', [DNB, DNC, SEBN])
@pytest.mark.parametrize(
    ('x', 'error', 'message'),
    [
        (
            torch.zeros(2, 24),
            ValueError,
            r'expected 4D input \(got 2D input.* is for maps \(N, C, H, W\)',
        ),
        (torch.zeros(24, 5, 5), ValueError, r'expected 4D input \(got 3D input'),
        (torch.zeros(2, 24, 5, 5, 5), ValueError, r'expected 4D input \(got 5D input'),
        (torch.zeros(2, 5, 5, 24), ValueError, 'num_features=24 channels, got 5 in'),
        (torch.zeros(2, 24, 5, 5).int(), TypeError, 'floating-point dtype, got torch.int32'),
        (torch.zeros(2, 24, 5, 5).bool(), TypeError, 'floating-point dtype, got torch.bool'),
        (torch.zeros(2, 24, 5, 5).cfloat(), TypeError, 'dtype, got torch.complex64'),
        (torch.zeros(2, 24, 5, 5).double(), TypeError, 'torch.float32, got torch.float64'),
        ([1.0], TypeError, r'Tensor of shape \(N, C, H, W\), got list'),
        (torch.zeros(1, 24, 1, 1), ValueError, 'more than 1 value per channel when training'),
    ],
)
def test_inputs(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer(24)(x)


@pytest.mark.parametrize('layer', [DNB, DNC, SEBN])
def test_one_value_per_channel_is_enough_for_running_statistics(layer):
    norm = layer(24).train()
    norm.bn.eval()
    assert norm(torch.zeros(1, 24, 1, 1)).shape == (1, 24, 1, 1)


@pytest.mark.parametrize('layer', [DNB, DNC])
def test_from_something_else_than_bn(layer):
    with pytest.raises(TypeError, match='bn must be a BatchNorm layer, got GroupNorm'):
        layer.from_bn(torch.nn.GroupNorm(1, 24))
