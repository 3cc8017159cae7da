"""Triton kernels that are broken, under Triton's interpreter; test_trust.py runs this file."""

import os

os.environ['TRITON_INTERPRET'] = '1'

import json
import logging

import pytest
import torch
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources

from dn_mmdet.layers import DNB
from dn_mmdet.ops import choose_path, dispatch, small_maps, trust, use_path
from dn_mmdet.ops.backends import triton_launch
from tests.helpers.tolerances import assert_near

X = torch.randn(2, 3, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch, tmp_path):
    monkeypatch.setattr(trust, '_trusted', {})
    monkeypatch.setattr(trust, '_warned', set())
    monkeypatch.setenv('DN_MMDET_CACHE_DIR', str(tmp_path))
    monkeypatch.delenv('DN_MMDET_OPS', raising=False)
    monkeypatch.delenv('DN_MMDET_CHECK_KERNELS', raising=False)
    monkeypatch.setitem(dispatch.FASTEST, 'cpu', ('triton', 'aten'))
    monkeypatch.setattr(triton_launch, 'is_available', lambda device: True)
    monkeypatch.setattr(small_maps, 'TINY_CASES', small_maps.TINY_CASES[:1])


class Wrapped:
    """A kernel that is launched by way of ``run``, which gets it, its grid and its arguments."""

    def __init__(self, kernel, run):
        self.kernel, self.run = kernel, run

    def __getitem__(self, grid):
        return lambda *args, **constants: self.run(self.kernel[grid], args, constants)


def wrong_number(kernel, args, constants):
    kernel(*args, **constants)
    args[6].mul_(1.001)  # dx


def compile_error(kernel, args, constants):
    raise CompilationError('y = tl.fma(x, 3)', None, 'fma has three operands')


def launch_error(kernel, args, constants):
    raise OutOfResources(300_000, 232_448, 'shared memory')


def one_step():
    layer, x = DNB(3, r=2, activation='ReLU6'), X.clone().requires_grad_()
    torch.nn.init.normal_(layer.sc.fc2_weight, generator=torch.Generator().manual_seed(1))
    y = layer(x)
    y.square().sum().backward()
    return y.detach(), x.grad, layer.bn.running_var, layer.sc.fc2_weight.grad


@pytest.mark.parametrize(
    ('kernel', 'run', 'fault'),
    [
        ('maps.gradient', wrong_number, 'gradient of x in training is off by 0.001'),
        ('sc.backward_of_channels', compile_error, 'CompilationError'),
        ('sums.moments', launch_error, 'OutOfResources: out of resource: shared memory'),
    ],
)
def test_a_broken_kernel_does_not_serve(kernel, run, fault, monkeypatch, caplog, tmp_path):
    module, name = kernel.split('.')
    module = triton_launch._module(module)
    monkeypatch.setattr(module, name, Wrapped(getattr(module, name), run))
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        found = one_step()
        assert choose_path(X) == 'aten'
    torch.manual_seed(0)
    with use_path('reference'):
        expected = one_step()
    for number, exact in zip(found, expected):
        assert_near(number, exact, torch.float32)
    (record,) = caplog.records
    assert fault in record.getMessage() and 'dn_mmdet.ops.selftest' in record.getMessage()
    (file,) = tmp_path.iterdir()
    entry = json.loads(file.read_text())
    assert fault in entry['fault'] and entry['key']['device'] == 'interpreter'


def test_whole_kernels_serve(tmp_path, caplog):
    assert choose_path(X) == 'triton'
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())['fault'] == '' and not caplog.records


def test_a_kernel_that_was_asked_for_says_what_to_do(monkeypatch):
    module = triton_launch._module('sums')
    monkeypatch.setattr(module, 'moments', Wrapped(module.moments, launch_error))
    with (
        use_path('triton'),
        pytest.raises(RuntimeError, match='sums.moments cannot.*OPS=reference'),
    ):
        one_step()
