"""Kernels that are wrong, or cannot run, do not get a map; what was found is kept on the disk.

Here the kernels of the path 'triton' are those of 'aten', whole or broken, so that a check takes
milliseconds; trust_interpreted.py breaks the real ones, under Triton's interpreter.
"""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dn_mmdet.layers import DNB
from dn_mmdet.ops import choose_path, dispatch, trust, use_path, verdicts
from dn_mmdet.ops.backends import KERNELS, aten, cpp, triton_launch
from dn_mmdet.ops.torch_versions import autocast_enabled
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.tolerances import assert_near
from tests.helpers.torch_versions import run_interpreted

INTERPRETED = Path(__file__).with_name('trust_interpreted.py')
X = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has asked for nothing, and an empty folder of verdicts."""
    monkeypatch.setattr(trust, '_trusted', {})
    monkeypatch.setattr(trust, '_warned', set())
    monkeypatch.setenv('DN_MMDET_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.delenv('DN_MMDET_CHECK_KERNELS', raising=False)
    monkeypatch.delenv('DN_MMDET_OPS', raising=False)
    return tmp_path / 'cache'


@pytest.fixture
def kernels(fresh, monkeypatch):
    """Those of the path 'triton', which 'auto' takes on a CPU here; to be broken."""
    names = [*aten.__all__, 'evaluate']
    whole = SimpleNamespace(**{name: getattr(aten, name, None) for name in names})
    monkeypatch.setitem(KERNELS, 'triton', whole)
    monkeypatch.setitem(dispatch.FASTEST, 'cpu', ('triton', 'reference'))
    monkeypatch.setattr(triton_launch, 'is_available', lambda device: True)
    monkeypatch.setattr(triton_launch, 'supports', lambda x: True)
    return whole


def another_process(monkeypatch):
    monkeypatch.setattr(trust, '_trusted', {})
    monkeypatch.setattr(trust, '_warned', set())


def never(*_):
    raise AssertionError('the kernels were checked')


def kept(folder):
    return [json.loads(file.read_text())['fault'] for file in sorted(folder.iterdir())]


def test_right_kernels_are_checked_once_for_a_dtype_and_layout(kernels, fresh, monkeypatch, caplog):
    assert choose_path(X) == choose_path(X.half()) == 'triton'
    assert choose_path(X.contiguous(memory_format=torch.channels_last)) == 'triton'
    assert kept(fresh) == ['', '', '']
    monkeypatch.setattr(trust, '_find_fault', never)
    assert choose_path(X[:1]) == choose_path(X.half() + 1) == 'triton'
    # A map that is neither is made contiguous.
    assert choose_path(X.transpose(2, 3)) == 'triton'
    with pytest.raises(AssertionError, match='checked'):
        choose_path(X.bfloat16())
    another_process(monkeypatch)
    assert choose_path(X) == 'triton'
    assert not caplog.records


def scaled(name, place, by):
    """A kernel whose result, or one of its results, is off."""

    def run(*args):
        results = getattr(aten, name)(*args)
        if place is None:
            return results * by
        many = list(results)
        many[place] = many[place] * by
        return type(results)._make(many) if hasattr(results, '_make') else tuple(many)

    return run


def raising(error):
    def run(*_):
        raise error

    return run


BROKEN = {
    'affine': ('plane_affine', scaled('plane_affine', None, 1.01), 'output in training'),
    'NaN': ('plane_affine', scaled('plane_affine', None, float('nan')), 'off by nan'),
    'variance': ('plane_moments', scaled('plane_moments', 2, 1.01), 'wrong numbers'),
    'means': ('plane_means', scaled('plane_means', None, 1.1), 'in frozen'),
    'gradient': ('plane_gradient', scaled('plane_gradient', None, 0.99), 'gradient of x'),
    'weights': ('sc_backward', scaled('sc_backward', 2, 0.99), 'gradient of fc2_weight'),
    'compiler': (
        'plane_products',
        raising(RuntimeError('ptxas\ndied')),
        'RuntimeError: ptxas died',
    ),
    'driver': ('plane_moments', raising(KeyError('cuLaunch')), 'KeyError: cuLaunch'),
}


@pytest.mark.parametrize('what', BROKEN)
def test_broken_kernels_do_not_serve(what, kernels, fresh, caplog):
    name, broken, fault = BROKEN[what]
    setattr(kernels, name, broken)
    layer = DNB(3, r=2).train()
    exact = DNB(3, r=2).double().train()
    exact.load_state_dict(layer.state_dict())
    x, wide = X.clone().requires_grad_(), X.double().requires_grad_()
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        y, expected = layer(x), exact(wide)
        (layer(x) * 0).sum().backward()
        x.grad = None
        y.square().sum().backward()
        expected.square().sum().backward()
    assert choose_path(x) == 'reference'
    assert_near(y, expected, torch.float32)
    assert_near(x.grad, wide.grad, torch.float32)
    (record,) = caplog.records
    text = record.getMessage()
    assert fault in text and 'torch.float32, contiguous' in text
    assert 'python -m dn_mmdet.ops.selftest' in text and 'earlier' not in text
    (found,) = kept(fresh)
    assert fault in found
    # Of processes that share their statistics, the others may trust theirs.
    assert choose_path(x, shared=True) == 'aten'


def test_what_was_found_earlier_counts_until_asked_again(kernels, fresh, monkeypatch, caplog):
    kernels.plane_affine = raising(RuntimeError('no C compiler'))
    assert choose_path(X) == 'reference'
    kernels.plane_affine = aten.plane_affine
    another_process(monkeypatch)
    caplog.clear()
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        assert choose_path(X) == choose_path(X) == 'reference'
    (record,) = caplog.records
    (file,) = fresh.iterdir()
    assert f'kept in {file}; DN_MMDET_CHECK_KERNELS=again' in record.getMessage()
    another_process(monkeypatch)
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', 'again')
    assert choose_path(X) == 'triton' and kept(fresh) == ['']
    another_process(monkeypatch)
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', 'on')
    monkeypatch.setattr(trust, '_find_fault', never)
    assert choose_path(X) == 'triton'


@pytest.mark.parametrize('what', ['code_digest', 'driver_version', 'torch', 'Triton'])
def test_what_was_found_holds_for_one_version_of_all(what, kernels, fresh, monkeypatch):
    assert choose_path(X) == 'triton'
    another_process(monkeypatch)
    kernels.plane_affine = raising(RuntimeError('broken'))
    assert choose_path(X) == 'triton'
    another_process(monkeypatch)
    if what == 'torch':
        monkeypatch.setattr(torch, '__version__', '9.9')
    elif what == 'Triton':
        monkeypatch.setattr(triton_launch, 'version', lambda: '9.9')
    else:
        monkeypatch.setattr(verdicts, what, lambda: '9.9')
    assert choose_path(X) == 'reference'
    assert len(kept(fresh)) == 2


@pytest.mark.parametrize('content', [
    b'', b'{', b'\xff\xfe', b'[]', b'3', b'{"fault": ""}', b'[' * 9000, 'key', 'fault', 'folder',
])  # fmt: skip
def test_a_spoiled_verdict_is_none(content, kernels, fresh, monkeypatch):
    assert choose_path(X) == 'triton'
    (file,) = fresh.iterdir()
    entry = json.loads(file.read_text())
    if content == 'key':
        content = json.dumps(entry | {'key': entry['key'] | {'device': 'another'}}).encode()
    elif content == 'fault':
        content = json.dumps(entry | {'fault': None}).encode()
    if content == 'folder':
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(content)
    another_process(monkeypatch)
    kernels.plane_affine = raising(RuntimeError('broken'))
    assert choose_path(X) == 'reference'
    if file.is_file():
        assert 'broken' in kept(fresh)[0]


@pytest.mark.parametrize('folder', ['a file', 'no home'])
def test_a_folder_that_cannot_be_written_is_no_matter(folder, kernels, fresh, monkeypatch):
    if folder == 'a file':
        fresh.write_text('')
    else:
        monkeypatch.delenv('DN_MMDET_CACHE_DIR')
        monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
        monkeypatch.setattr(Path, 'home', raising(RuntimeError('no home')))
    assert choose_path(X) == 'triton'
    another_process(monkeypatch)
    kernels.plane_affine = raising(RuntimeError('broken'))
    assert choose_path(X) == choose_path(X) == 'reference'


def test_folders_of_verdicts(monkeypatch, tmp_path):
    monkeypatch.delenv('DN_MMDET_CACHE_DIR', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(Path, 'home', lambda: tmp_path)
    assert verdicts.place_of({}).parent == tmp_path / '.cache/dn_mmdet'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'x'))
    assert verdicts.place_of({}).parent == tmp_path / 'x/dn_mmdet'
    monkeypatch.setenv('DN_MMDET_CACHE_DIR', str(tmp_path / 'y'))
    assert verdicts.place_of({}).parent == tmp_path / 'y'


def test_switched_off_and_asked_for_by_name(kernels, fresh, monkeypatch):
    kernels.plane_affine = raising(RuntimeError('broken'))
    monkeypatch.setattr(triton_launch, 'why_absent', lambda: '')
    with use_path('triton'):
        assert choose_path(X) == 'triton'
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', 'off')
    assert choose_path(X) == 'triton'
    assert not fresh.exists()
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', 'no')
    with pytest.raises(ValueError, match="CHECK_KERNELS must be one of on, again, off, got 'no'"):
        choose_path(X.half())


class _Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(function)
        return function(*args, **(kwargs or {}))


def test_the_caller_notices_nothing(kernels, fresh, monkeypatch):
    checked = []

    def find_fault(*subject):
        checked.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                        autocast_enabled('cpu')))  # fmt: skip
        return trust_find(*subject)

    trust_find = trust._find_fault
    monkeypatch.setattr(trust, '_find_fault', find_fault)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    packed = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t)
    with hooks, _Watch() as watch, torch.autocast('cpu', dtype=torch.bfloat16):
        assert choose_path(X) == 'triton'
        assert torch.is_grad_enabled() and autocast_enabled('cpu')
    with torch.inference_mode():
        assert choose_path(X.half()) == 'triton'
        assert torch.is_inference_mode_enabled()
    with torch.no_grad(), _Watch() as second:
        assert choose_path(X.contiguous(memory_format=torch.channels_last)) == 'triton'
        assert not torch.is_grad_enabled()
    assert checked == [(True, False, False)] * 3
    assert not packed and not watch.seen
    # The change of layout is the caller's own.
    assert len(second.seen) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_map_may_come_in_a_backward(kernels, fresh):
    class Late(torch.autograd.Function):
        """As a checkpoint that recomputes."""

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            with torch.enable_grad():
                x = X.clone().requires_grad_()
                y = DNB(3, r=2)(x)
            return torch.autograd.grad(y, x, dy)[0]

    x = X.clone().requires_grad_()
    Late.apply(x).square().sum().backward()
    assert x.grad.any()
    assert trust._trusted == {('triton', x.device, x.dtype, True): True}


def test_the_kernels_are_run_without_a_thread_of_autograd(kernels, fresh, monkeypatch):
    # A GPU's would be that of the caller, where a backward recomputes, and wait for itself.
    asked = []

    def grad(outputs, inputs, *args, **kwargs):
        asked.append({tensor.dtype for tensor in inputs} | {outputs.device.type})
        return autograd(outputs, inputs, *args, **kwargs)

    autograd = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, 'grad', grad)
    assert choose_path(X) == 'triton'
    assert asked and all(seen == {torch.float64, 'cpu'} for seen in asked)


GPU = ('triton', torch.device('cuda', 0), torch.float32, True)


@pytest.fixture
def gpu(fresh, monkeypatch):
    """All that a check asks of a GPU which is not there."""
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Abacus 9')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: None)


def test_nothing_is_checked_while_a_graph_is_recorded(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    monkeypatch.setattr(trust, '_find_fault', never)
    assert not trust._judge(GPU)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.setattr(trust, '_find_fault', lambda *_: '')
    assert trust._judge(GPU)
    another_process(monkeypatch)
    # What is known may be used in one.
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    monkeypatch.setattr(trust, '_find_fault', never)
    assert trust._judge(GPU)


def test_two_gpus_of_a_kind_have_one_fault(gpu, monkeypatch, caplog):
    monkeypatch.setattr(trust, '_find_fault', lambda *_: 'wrong numbers')
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        assert not trust._judge(GPU)
        assert not trust._judge((GPU[0], torch.device('cuda', 1), *GPU[2:]))
    (record,) = caplog.records
    assert 'Abacus 9' in record.getMessage()


def test_a_gpu_that_answers_nothing_more(gpu, fresh, monkeypatch):
    def synchronize(device):
        raise RuntimeError('CUDA error: an illegal memory access was encountered')

    monkeypatch.setattr(torch.cuda, 'synchronize', synchronize)
    monkeypatch.setattr(trust, '_find_fault', lambda *_: 'an illegal memory access')
    with pytest.raises(RuntimeError, match='start the program again.*DN_MMDET_OPS=reference'):
        trust._judge(GPU)
    # The next process knows.
    assert kept(fresh) == ['an illegal memory access']


def test_a_full_memory_says_nothing_of_the_kernels(kernels, fresh):
    kernels.plane_moments = raising(torch.cuda.OutOfMemoryError('full'))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        choose_path(X)
    assert not trust._trusted and not fresh.exists()


@NEEDS_LIBRARY
def test_the_cpp_operators_are_checked_too_and_nothing_is_written(fresh, monkeypatch, caplog):
    assert choose_path(X) == 'cpp'
    broken = SimpleNamespace(**{name: getattr(cpp, name) for name in cpp.__all__})
    broken.evaluate = lambda *args: cpp.evaluate(*args) + 1
    monkeypatch.setitem(KERNELS, 'cpp', broken)
    assert choose_path(X) == 'cpp'
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        assert choose_path(X.half()) == choose_path(X.half()) == 'aten'
    (record,) = caplog.records
    assert "'cpp'" in record.getMessage() and 'output in evaluation' in record.getMessage()
    assert not fresh.exists()


def test_interpreted():
    run_interpreted(INTERPRETED)
