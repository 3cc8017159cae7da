"""Norm layers timed inside of a model: what is counted, and to which layer."""

import time
from itertools import count

import pytest
import torch
from torch import nn

from dn_mmdet.benchmark.inside import LayerClock, time_layers
from dn_mmdet.benchmark.measure import Subject
from dn_mmdet.layers import DNB, SEBN
from dn_mmdet.ops import use_path


class Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        time.sleep(0.01)
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        time.sleep(0.02)
        return dy


class SlowNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(Slow.apply(x))


class SlowConv(nn.Conv2d):
    def forward(self, x):
        return Slow.apply(super().forward(x))


def model(norm, conv=nn.Conv2d, activation=True):
    """Two convolutions with a norm behind each, the second at half of the resolution."""
    torch.manual_seed(0)
    relu = [nn.ReLU6(inplace=True)] if activation else []
    return nn.Sequential(
        conv(3, 8, 3, padding=1), norm(8), *relu, conv(8, 16, 3, 2, 1), nn.Sequential(norm(16))
    )


def visits(network, train=True):
    """Of one step, with a clock that ticks once each time it is read."""
    ticks = count()
    with LayerClock(network.train(train), type(network[1]), lambda: float(next(ticks))) as clock:
        with torch.set_grad_enabled(train):
            output = network(torch.randn(2, 3, 6, 6))
        if train:
            output.sum().backward()
    return clock.visits


@pytest.mark.parametrize(
    'norm, path, first, second',
    [
        # BN and ReLU6, each forward and backward; DN-B is one node.
        (nn.BatchNorm2d, 'auto', 4, 2),
        (DNB, 'aten', 4, 2),
    ],
)
def test_each_layer_is_counted_once_with_the_activation_behind_it(norm, path, first, second):
    with use_path(path):
        found = visits(model(norm))
        assert [(each.map, each.seconds) for each in found] == [('6x6', first), ('3x3', second)]
        # Without the activation, and without a backward.
        found = visits(model(norm, activation=False), train=False)
    assert [each.seconds for each in found] == [1, 1]


@pytest.mark.parametrize('norm, path', [(DNB, 'reference'), (SEBN, 'auto')])
def test_the_backward_of_a_norm_of_many_operations_is_all_of_them(norm, path):
    with use_path(path):
        found = visits(model(norm, activation=False))
    assert all(each.seconds > 5 for each in found)


def test_the_bytes_that_a_norm_must_move():
    maps = [4 * 2 * 8 * 36, 4 * 2 * 16 * 9]
    for norm in (nn.BatchNorm2d, DNB):
        network = model(norm)
        weights = [4 * sum(p.numel() for p in network[at].parameters()) for at in (1, 4)]
        numbers = 2 if norm is nn.BatchNorm2d else 3
        for train, factor, times in ((True, 8, 3), (False, numbers, 1)):
            moved = [each.bytes for each in visits(network, train)]
            assert moved == [factor * m + times * w for m, w in zip(maps, weights)]


def test_the_time_is_that_of_the_norms_alone(monkeypatch):
    monkeypatch.setattr('dn_mmdet.benchmark.inside.COPIED', 2**10)

    def measure(network, norm):
        network.train()
        # Two steps that warm up, then one that settles before each of two that count.
        sizes = iter([16, 16, 12, 6, 12, 6])

        def step():
            size = next(sizes)
            network(torch.randn(2, 3, size, size)).sum().backward()

        subjects = {'BN': Subject('BN', step, step, model=network)}
        found = time_layers(subjects, {'BN': norm}, repeats=2, warmup=1, settle=1)
        # Hooks that stayed would slow what is measured next.
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
        assert next(sizes, None) is None and found['copy'] > 0
        return found['norms']['BN']

    slow = measure(model(SlowNorm), SlowNorm)
    assert slow['seconds'] >= 0.06 and 0.5 < slow['share'] <= 1
    assert [each['map'] for each in slow['maps']] == ['6x6', '3x3']
    assert all(each['layers'] == 1 and each['seconds'] >= 0.03 for each in slow['maps'])
    assert slow['layers'] == 2 and slow['bytes'] == sum(each['bytes'] for each in slow['maps'])
    # As much time of other layers, which are none of the norms'.
    assert measure(model(nn.BatchNorm2d, SlowConv), nn.BatchNorm2d)['share'] < 0.5
