"""The Triton path: its kernels interpreted and compiled, and what happens without it.

What needs a GPU is in test_triton_gpu.py.
"""

import logging
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dn_mmdet.benchmark.launches import compile_launch
from dn_mmdet.ops import choose_path, dispatch, trust, use_path
from dn_mmdet.ops.backends import triton_launch
from tests.helpers.torch_versions import run_interpreted
from tests.test_ops.test_backends.test_cpp import forward_backward, maps, numbers

INTERPRETED = Path(__file__).with_name('triton_interpreted.py')


def test_interpreted():
    run_interpreted(INTERPRETED)


@pytest.mark.parametrize(
    ('dtype', 'layout', 'capability'),
    [(torch.bfloat16, torch.channels_last, 90), (torch.float32, torch.contiguous_format, 70)],
)
def test_compiles_without_a_gpu(dtype, layout, capability, monkeypatch):
    pytest.importorskip('triton.backends')
    monkeypatch.setattr(triton_launch, 'supports', lambda x: True)
    tensors, dy = [maps((2, 32, 8, 8), dtype, layout), *numbers(32)], maps((2, 32, 8, 8), dtype)
    with triton_launch.note_launches() as launches:
        forward_backward('triton', tensors, dy, True, activation='ReLU6')
    compiled = [compile_launch(launch, capability) for launch in launches]
    assert len(compiled) == 5
    assert all(kernel.asm['cubin'] for kernel in compiled)
    # Rows of whole vectors are read as such, 16 bytes at a time.
    assert 'ld.global.v4' in compiled[0].asm['ptx']
    # Who comes last sees what all threads of the others have stored, and so do all of its own.
    for kernel in (compiled[0], compiled[2]):
        before, after = re.split(r'atom\.global\.gpu\.acq_rel\.add', kernel.asm['ptx'])
        stored = before.rindex('st.global')
        assert 'bar.sync' in before[stored:] and 'bar.sync' in after[: after.index('ld.global')]


def test_without_an_interpreter_it_is_for_gpus():
    pytest.importorskip('triton')
    with use_path('triton'):
        assert choose_path(maps((2, 3, 4, 4))) == 'reference'


class _Cuda(torch.Tensor):
    """Looks like a tensor on a GPU to who asks for its device and dtype."""

    device, dtype, is_cuda = torch.device('cuda', 0), torch.float32, False


@pytest.fixture
def gpu(monkeypatch):
    """A tensor on a GPU that does not exist, of which all else is as given."""
    caches = [getattr(triton_launch, name) for name in
              ('is_available', 'why_absent', '_module', '_why_unfit', '_capability',
               '_is_interpreted')]  # fmt: skip
    for cached in caches:
        cached.cache_clear()
    monkeypatch.delenv('DN_MMDET_OPS', raising=False)
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', 'off')
    monkeypatch.setattr(trust, '_trusted', {})
    monkeypatch.setattr(dispatch, 'runs_eagerly', lambda x: True)
    monkeypatch.setattr(torch.version, 'cuda', '12.8')
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    yield torch.ones(1).as_subclass(_Cuda)
    for cached in caches:
        cached.cache_clear()


def test_auto_on_a_gpu(gpu, monkeypatch):
    pytest.importorskip('triton')
    assert choose_path(gpu) == 'triton'
    monkeypatch.setattr(_Cuda, 'dtype', torch.float64)
    assert choose_path(gpu) == 'reference'
    monkeypatch.setattr(_Cuda, 'dtype', torch.bfloat16)
    assert choose_path(gpu) == 'triton'
    triton_launch._capability.cache_clear()
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (7, 5))
    assert choose_path(gpu) == 'reference'
    monkeypatch.setattr(_Cuda, 'dtype', torch.float16)
    assert choose_path(gpu) == 'triton'


def test_counters_are_those_of_a_stream_and_of_a_graph(gpu, monkeypatch):
    current = SimpleNamespace(cuda_stream=1)
    capturing = False
    monkeypatch.setattr(triton_launch, '_counters', {})
    monkeypatch.setattr(_Cuda, 'device', torch.device('cpu'))
    monkeypatch.setattr(_Cuda, 'is_cuda', True)
    monkeypatch.setattr(torch.cuda, 'device', lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: current)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: capturing)
    monkeypatch.setattr(triton_launch, '_supplies', {})
    monkeypatch.setattr(triton_launch, 'SUPPLY', 10)

    def counters(number):
        found = triton_launch.counters(gpu, number)
        assert len(found) >= number and found.dtype == torch.int32 and not found.any()
        return found

    capturing = True
    counters(3)  # Nothing is there yet: the graph zeroes them.
    capturing = False
    first = counters(3)
    assert first is counters(1000)
    longer = counters(len(first) + 1)
    assert longer is counters(3)
    current.cuda_stream = 2
    second = counters(3)
    assert second is not longer
    capturing = True
    # The last one finds that the supply is used up.
    recorded = [counters(3) for _ in range(3)]
    assert all(tensor.data_ptr() % 16 == 0 for tensor in recorded)
    every = [longer, second, *recorded]
    for i, tensor in enumerate(every):
        tensor.fill_(i)
    assert all((tensor == i).all() for i, tensor in enumerate(every))


@pytest.mark.parametrize('what', ['no Triton', 'an old GPU', 'another GPU'])
def test_where_it_cannot_be_used_the_reference_serves_and_says_so_once(
    what, gpu, monkeypatch, caplog
):
    if what == 'no Triton':
        # Also where the kernels have been imported already.
        for name in list(sys.modules):
            if name.startswith('dn_mmdet.ops.backends.triton_kernels.'):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, 'triton', None)
        reason = 'triton'
    else:
        pytest.importorskip('triton')
        reason = 'compute capability is 6.1' if what == 'an old GPU' else 'NVIDIA'
    if what == 'an old GPU':
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (6, 1))
    if what == 'another GPU':
        monkeypatch.setattr(torch.version, 'cuda', None)
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        assert choose_path(gpu) == choose_path(gpu) == 'reference'
    (record,) = caplog.records
    assert reason in record.getMessage() and 'cuda:0' in record.getMessage()
    if what == 'no Triton':
        with pytest.raises(RuntimeError, match="'triton' was requested.*CUDA build of PyTorch"):
            use_path('triton').__enter__()
