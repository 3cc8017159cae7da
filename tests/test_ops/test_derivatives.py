"""First and second derivatives of every path, and activations on their bounds."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB
from dn_mmdet.ops import dynamic_batch_norm, use_path
from dn_mmdet.ops.activation import ACTIVATIONS
from dn_mmdet.utils.python39 import zip_strict
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
    {'sc_input': 'normalized', 'fc1_scale': 0.5, 'fc2_scale': 1.75},
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
@pytest.mark.parametrize('weighted', [True, False], ids=['squares', 'sum'])
@pytest.mark.parametrize('path', FUSED)
def test_fused_paths_refuse_second_derivatives(path, weighted, options):
    """Also of a sum, whose gradient at the layer is a constant."""
    tensors = inputs(torch.float32)
    y = call(path, tensors, **options)
    loss = y.square().sum() if weighted else y.sum()
    gradients = torch.autograd.grad(loss, tensors, create_graph=True)
    assert all(gradient.requires_grad for gradient in gradients)
    for gradient in gradients:
        # All that may be asked for: by a penalty, or for one of the tensors alone.
        with pytest.raises(RuntimeError, match=r"use_path\('reference'\).*DN_MMDET_OPS=reference"):
            (loss + gradient.square().sum()).backward(retain_graph=True)
        for source in (tensors[0], tensors[1], tensors[3]):
            with pytest.raises(RuntimeError, match='cannot be differentiated twice'):
                torch.autograd.grad(gradient.square().sum(), source, retain_graph=True)
    plain = torch.autograd.grad(loss, tensors)
    assert all(torch.equal(*pair) for pair in zip_strict(gradients, plain))
    assert not any(gradient.requires_grad for gradient in plain)


@pytest.mark.parametrize('remedy', ['use_path', 'variable'])
def test_the_remedy_that_is_named(remedy, monkeypatch):
    """A gradient penalty on a network with DN-B, against differences of the penalty."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), DNB(4, r=2, activation='ReLU'), nn.Conv2d(4, 1, 3)
    ).double()
    nn.init.normal_(network[1].sc.fc2_weight)
    x = torch.randn(2, 2, 7, 7, dtype=torch.float64)
    if remedy == 'variable':
        monkeypatch.setenv('DN_MMDET_OPS', 'reference')

    def penalty():
        image = x.clone().requires_grad_()
        with use_path('reference') if remedy == 'use_path' else nullcontext():
            y = network(image)
        (gradient,) = torch.autograd.grad(y.sum(), image, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    penalty().backward()
    for parameter in (network[1].sc.fc2_weight, network[0].weight):
        direction = torch.randn_like(parameter)
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter += step * direction
            ends.append(penalty().item())
            with torch.no_grad():
                parameter -= step * direction
        expected = (ends[0] - ends[1]) / 2e-6
        assert (parameter.grad * direction).sum().item() == pytest.approx(expected, rel=1e-4)


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
