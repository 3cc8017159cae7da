"""Arguments that do not go together, told as torch.nn.functional.batch_norm tells of them."""

import pytest
import torch
import torch.nn.functional as F

from dn_mmdet.layers import DNB
from dn_mmdet.ops import dynamic_batch_norm, use_path
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.layer_maps import random_maps
from tests.helpers.library import NEEDS_LIBRARY

C = 6
PATHS = ['reference', 'aten', pytest.param('cpp', marks=NEEDS_LIBRARY)]


@pytest.fixture(params=PATHS, autouse=True)
def path(request):
    with use_path(request.param):
        yield request.param


def arguments(c=C, units=4, inputs=2, **changed):
    given = {
        'x': random_maps((2, c, 4, 3)),
        'running_mean': torch.zeros(c),
        'running_var': torch.ones(c),
        'fc1_weight': torch.randn(units, c),
        'fc1_bias': torch.zeros(units),
        'fc2_weight': torch.randn(2 * c, inputs),
        'alpha_offset': torch.ones(c),
        'lambda_offset': torch.zeros(c),
    }
    return given | changed


def error_of(function, *args, **kwargs):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as caught:
        function(*args, **kwargs)
    return caught.type, str(caught.value)


MISSING = {'running_mean': None, 'running_var': None}


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'changed',
    [
        {'running_mean': torch.zeros(5)},
        {'running_var': torch.zeros(1)},
        {'x': random_maps((1, C, 1, 1))},
        {'running_mean': None},
        {'running_var': None},
        MISSING,
        {'x': random_maps((2, 9, 4, 3))},
    ],
    ids=lambda changed: ', '.join(
        f'{name} {getattr(value, "shape", value)}' for name, value in changed.items()
    ),
)
def test_words_of_batch_norm(changed, training):
    given = arguments(**changed)
    try:
        F.batch_norm(given['x'], given['running_mean'], given['running_var'], training=training)
    except (RuntimeError, ValueError) as error:
        expected = type(error), str(error)
    else:
        if [*changed.values()] == [None]:
            pytest.skip(f'torch {torch.__version__} takes one running statistic alone')
        dynamic_batch_norm(**given, training=training)
        return
    if given['x'].shape[1] != C:
        # The first of the numbers that do not fit.
        given |= {'alpha_offset': torch.ones(9), 'lambda_offset': torch.ones(9)}
    assert error_of(dynamic_batch_norm, **given, training=training) == expected


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('changed', 'error', 'words'), [
    ({'x': [1.0]}, TypeError, r"argument 'x' \(position 1\) must be Tensor, not list"),
    ({'x': torch.zeros(2, C)}, ValueError, r'expected 4D input \(got 2D input\)'),
    ({'x': torch.zeros(2, C, 1, 2, 3)}, ValueError, r'expected 4D input \(got 5D input\)'),
    ({'x': torch.zeros(2, C, 4, 3).int()}, NotImplementedError, "not implemented for 'Int'"),
    ({'x': torch.zeros(2, C, 4, 3).bool()}, NotImplementedError, "not implemented for 'Bool'"),
    ({'x': torch.zeros(2, C, 4, 3).cfloat()}, NotImplementedError, "for 'ComplexFloat'"),
    ({'alpha_offset': torch.ones(5)}, RuntimeError, 'alpha_offset should contain 6 elements not 5'),
    ({'alpha_offset': torch.ones(1)}, RuntimeError, 'alpha_offset should contain 6 elements not 1'),
    ({'lambda_offset': torch.ones(7)}, RuntimeError, 'lambda_offset should contain 6 elements'),
    ({'lambda_offset': torch.ones(2, C)}, RuntimeError, r'of size \(6,\), not \(2, 6\)'),
    ({'running_mean': torch.ones(C, 1)}, RuntimeError, r'running_mean .* not \(6, 1\)'),
    ({'fc1_weight': torch.ones(4, 5)}, RuntimeError, r'fc1_weight .*\(H, 6\), not \(4, 5\)'),
    ({'fc1_weight': torch.ones(C)}, RuntimeError, r'fc1_weight should be of size \(H, 6\)'),
    ({'fc1_bias': torch.ones(5)}, RuntimeError, 'fc1_bias should contain 4 elements not 5'),
    ({'fc1_bias': torch.ones(1)}, RuntimeError, 'fc1_bias should contain 4 elements not 1'),
    ({'fc2_weight': torch.ones(C, 2)}, RuntimeError, r'fc2_weight should be of size \(12, g\)'),
    ({'fc2_weight': torch.ones(2 * C, 3)}, RuntimeError, r'g divides 4 units .* not \(12, 3\)'),
    ({'fc2_weight': torch.ones(2 * C)}, RuntimeError, r'fc2_weight .* not \(12,\)'),
    ({'fc2_weight': torch.tensor(1.0)}, RuntimeError, r'fc2_weight .* not \(\)'),
    ({'running_mean': torch.zeros(C).int()}, RuntimeError, 'mixed dtype: expect running_mean'),
    ({'fc1_weight': torch.zeros(4, C).cfloat()}, RuntimeError, 'expect fc1_weight .* ComplexFloat'),
    ({'eps': 0.0}, ValueError, 'eps must be positive, but got 0.0'),
    ({'eps': -1e-5}, ValueError, 'eps must be positive'),
    ({'sc_input': 'gap'}, ValueError, "sc_input must be 'raw' or 'normalized', got 'gap'"),
    ({'fc1_scale': 0.0}, ValueError, 'fc1_scale must be positive and finite, got 0.0'),
    ({'fc2_scale': float('nan')}, ValueError, 'fc2_scale must be positive and finite, got nan'),
    ({'fc2_scale': float('inf')}, ValueError, 'fc2_scale must be positive and finite, got inf'),
    ({'activation': 'GELU'}, ValueError, "'ReLU', 'ReLU6' or None, got 'GELU'"),
])  # fmt: skip
def test_what_does_not_go_together(changed, error, words, training):
    with pytest.raises(error, match=words):
        dynamic_batch_norm(**arguments(**changed), training=training)


@pytest.mark.parametrize('name', list(arguments()))
def test_devices(name):
    given = arguments()
    changed = given | {name: given[name].to('meta')}
    with pytest.raises(RuntimeError, match='Tensor on device (cpu|meta) is not on the expected'):
        dynamic_batch_norm(**changed, training=True)
    statistics = given['running_mean'], given['running_var']
    assert not statistics[0].any() and (statistics[1] == 1).all()
    if name in ('x', 'running_mean'):
        with pytest.raises(RuntimeError, match='Tensor on device (cpu|meta) is not on the expect'):
            F.batch_norm(*(changed[n] for n in ('x', 'running_mean', 'running_var')))


def test_shapes_alone():
    given = {name: value.to('meta') for name, value in arguments().items()}
    for training in (True, False):
        y = dynamic_batch_norm(**given, training=training)
        assert y.device.type == 'meta' and y.shape == given['x'].shape


def test_a_refused_call_leaves_the_statistics():
    given = arguments(lambda_offset=torch.zeros(1))
    with pytest.raises(RuntimeError):
        dynamic_batch_norm(**given, training=True)
    assert not given['running_mean'].any() and (given['running_var'] == 1).all()


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(0, C, 4, 3), (2, C, 0, 3), (2, 0, 4, 3)])
def test_empty_maps_are_as_in_batch_norm(shape, training, recwarn):
    given = arguments(c=shape[1], x=torch.zeros(shape, requires_grad=True))
    y = dynamic_batch_norm(**given, training=training)
    y.sum().backward()
    assert y.shape == given['x'].grad.shape == shape
    running = torch.zeros(shape[1]), torch.ones(shape[1])
    F.batch_norm(given['x'], *running, training=training)
    assert torch.equal(given['running_mean'], running[0])
    assert torch.equal(given['running_var'], running[1])


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('activation', [None, 'ReLU', 'ReLU6'])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_what_is_not_finite_propagates(value, training, activation, channels_last):
    """Beyond BatchNorm the mean of a sample reaches all of its channels, and no other sample."""
    x = random_maps((3, C, 9, 8), channels_last=channels_last)
    x[1, 2, 5, 3] = value
    bn_running = torch.zeros(C), torch.ones(C)
    plain = F.batch_norm(x, *bn_running, training=training)
    act = {None: lambda y: y, 'ReLU': F.relu, 'ReLU6': F.relu6}[activation]
    given = arguments(x=x.clone().requires_grad_())
    y = dynamic_batch_norm(**given, training=training, activation=activation)
    # Where BatchNorm gives NaN DN-B does, behind the same activation.
    assert y[act(plain).isnan()].isnan().all()
    others = torch.ones(C, dtype=bool)
    others[2] = not training
    assert y[[0, 2]][:, others].isfinite().all()
    for name, expected in zip_strict(('running_mean', 'running_var'), bn_running):
        assert torch.equal(given[name].isnan(), expected.isnan())
        assert torch.equal(given[name].isinf(), expected.isinf())
    y.sum().backward()
    assert given['x'].grad.shape == x.shape


@pytest.mark.parametrize('sc_input', ['raw', 'normalized'])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_gradients_of_what_is_not_finite(value, sc_input):
    layer = DNB(C, r=2, sc_input=sc_input)
    torch.nn.init.normal_(layer.sc.fc2_weight)
    x = random_maps((3, C, 9, 8))
    x[1, 2, 5, 3] = value
    x.requires_grad_()
    y = layer(x)
    y.sum().backward()
    bn = torch.nn.BatchNorm2d(C, affine=False)
    other = x.detach().clone().requires_grad_()
    bn(other).sum().backward()
    assert x.grad[other.grad.isnan()].isnan().all()


@pytest.mark.parametrize('layer_dtype', [torch.float32, torch.float64])
def test_layer_and_input_of_two_devices(layer_dtype):
    layer = DNB(C, dtype=layer_dtype)
    with pytest.raises(RuntimeError, match='Tensor on device cpu is not on the expected device'):
        layer(torch.zeros(2, C, 4, 4, device='meta', dtype=layer_dtype))
    with pytest.raises(RuntimeError, match='Tensor on device meta is not on the expected device'):
        DNB(C, device='meta', dtype=layer_dtype)(torch.zeros(2, C, 4, 4, dtype=layer_dtype))
