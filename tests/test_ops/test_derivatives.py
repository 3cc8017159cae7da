"""First and second derivatives of every path, and activations on their bounds."""

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB
from dn_mmdet.ops import dynamic_batch_norm, use_path
from dn_mmdet.ops.activation import ACTIVATIONS
from tests.helpers.library import NEEDS_LIBRARY

N, C = 2, 4
FUSED = ['aten', pytest.param('cpp', marks=NEEDS_LIBRARY)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def inputs(dtype=torch.float64, layout=torch.contiguous_format, groups=2):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    tensors = [normal(N, C, 3, 2), normal(4, C), normal(4), normal(2 * C, 4 // groups),
               normal(C) + 2, normal(C) + 2]  # fmt: skip
    tensors[0] = tensors[0].contiguous(memory_format=layout)
    return [tensor.requires_grad_() for tensor in tensors]


def call(path, tensors, training=True, **options):
    x, *parameters = tensors
    running = (None, None) if training else (torch.zeros(C).to(x), torch.ones(C).to(x))
    with use_path(path):
        return dynamic_batch_norm(x, *running, *parameters, training=training, **options)


@pytest.mark.parametrize('options', [
    {'activation': activation, 'training': training, 'sc_input': sc_input}
    for activation in (None, *ACTIVATIONS)
    for training in (True, False)
    for sc_input in ('raw', 'normalized')
], ids=lambda options: '-'.join(map(str, options.values())))  # fmt: skip
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('path', ['reference', 'aten'])
def test_gradcheck(path, layout, options):
    tensors = inputs(layout=layout)
    y = call(path, tensors, **options)
    if options['activation']:
        # Both sides of a bound, and no number so near that a step would cross it.
        plain = call(path, tensors, **options | {'activation': None}).detach()
        assert (plain < 0).any() and (plain > 0).any() and plain.abs().min() > 1e-4
        assert (plain - 6).abs().min() > 1e-4
        assert y.min() == 0
    assert torch.autograd.gradcheck(lambda *t: call(path, t, **options), tensors, fast_mode=True)


@pytest.mark.parametrize('options', [
    {'groups': 1},
    {'training': False},
    {'sc_input': 'normalized'},
    {'activation': 'ReLU'},
    {'activation': 'ReLU6'},
], ids=lambda options: '-'.join(map(str, options.values())))  # fmt: skip
def test_gradgradcheck_of_the_reference(options):
    tensors = inputs(groups=options.get('groups', 2))
    options = {name: value for name, value in options.items() if name != 'groups'}
    assert torch.autograd.gradgradcheck(
        lambda *t: call('reference', t, **options), tensors, fast_mode=True
    )


@pytest.mark.parametrize('options', [{}, {'training': False}, {'activation': 'ReLU6'}], ids=str)
@pytest.mark.parametrize('path', FUSED)
def test_fused_paths_refuse_second_derivatives(path, options):
    tensors = inputs(torch.float32)
    y = call(path, tensors, **options)
    (grad,) = torch.autograd.grad(y.square().sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable|differentiate twice'):
        grad.sum().backward()


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('path', ['reference', *FUSED])
def test_on_its_bounds_an_activation_passes_nothing(path, layout, activation):
    """As in ``torch.nn.ReLU`` and ``torch.nn.ReLU6``, on numbers that every path makes exactly."""
    layer = DNB(1, eps=1.0, activation=activation).eval()
    nn.init.zeros_(layer.bn.running_var)
    values = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 6.0, 7.0, 5.9999995])
    x = values.view(2, 1, 2, 2).contiguous(memory_format=layout).requires_grad_()
    other = x.detach().clone().requires_grad_()
    expected = getattr(nn, activation)()(other)
    expected.backward(torch.full_like(expected, 2.0))
    with use_path(path):
        y = layer(x)
        y.backward(torch.full_like(y, 2.0))
    assert torch.equal(y, expected) and torch.equal(x.grad, other.grad)


@pytest.mark.parametrize('path', ['reference', *FUSED])
def test_some_parameters_alone(path):
    full = inputs(torch.float32)
    expected = torch.autograd.grad(call(path, full).square().sum(), full)
    for chosen in range(len(full)):
        tensors = [tensor.detach().requires_grad_(i == chosen) for i, tensor in enumerate(full)]
        call(path, tensors).square().sum().backward()
        torch.testing.assert_close(tensors[chosen].grad, expected[chosen], rtol=1e-5, atol=1e-5)
        assert sum(tensor.grad is not None for tensor in tensors) == 1
