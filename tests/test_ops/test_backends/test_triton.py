"""The Triton path: its kernels interpreted and compiled, and what happens without it.

What needs a GPU is in test_triton_gpu.py.
"""

import logging
import sys
from pathlib import Path

import pytest
import torch

from dn_mmdet.ops import choose_path, dispatch, trust, use_path
from dn_mmdet.ops.backends import triton, triton_launch
from dn_mmdet.utils.python39 import zip_strict
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
    from triton.backends.compiler import GPUTarget

    compiled = []

    def launch(like, kernel, programs, *args, num_warps=4, **constants):
        module, name = kernel.split('.')
        function = getattr(triton_launch._module(module), name)
        source = _source(function, args, constants)
        target = GPUTarget('cuda', capability, 32)
        compiled.append(_compile(source, target=target, options={'num_warps': num_warps}))

    monkeypatch.setattr(triton, 'launch', launch)
    monkeypatch.setattr(triton_launch, 'supports', lambda x: True)
    tensors, dy = [maps((2, 8, 8, 8), dtype, layout), *numbers(8)], maps((2, 8, 8, 8), dtype)
    forward_backward('triton', tensors, dy, True, activation='ReLU6')
    assert len(compiled) == 8
    assert all(kernel.asm['cubin'] for kernel in compiled)
    # Rows of 8 channels or places are read as whole vectors of 16 bytes.
    assert 'ld.global.v4' in compiled[0].asm['ptx']


def _compile(source, **how):
    from triton import compile

    return compile(source, **how)


def _source(function, args, constants):
    import triton.compiler.compiler as triton_compiler

    types = {torch.float32: '*fp32', torch.bfloat16: '*bf16', int: 'i32', float: 'fp32'}
    names = [name for name in function.arg_names if name not in constants]
    given = dict(zip_strict(names, args))
    kinds = {name: getattr(value, 'dtype', type(value)) for name, value in given.items()}
    signature = {
        name: 'constexpr' if name in constants else types[kinds[name]]
        for name in function.arg_names
    }
    pointers = [i for i, kind in enumerate(signature.values()) if kind.startswith('*')]
    if Attrs := getattr(triton_compiler, 'AttrsDescriptor', None):  # Before Triton 3.3.
        signature = {name: kind for name, kind in signature.items() if kind != 'constexpr'}
        hints = dict.fromkeys(pointers, 16)
        aligned = Attrs.from_hints(hints) if hasattr(Attrs, 'from_hints') else Attrs({*pointers})
    else:
        aligned = {(i,): [['tt.divisibility', 16]] for i in pointers}
    return triton_compiler.ASTSource(function, signature, constants, aligned)


def test_without_an_interpreter_it_is_for_gpus():
    pytest.importorskip('triton')
    with use_path('triton'):
        assert choose_path(maps((2, 3, 4, 4))) == 'reference'


class _Cuda(torch.Tensor):
    """Looks like a tensor on a GPU to who asks for its device and dtype."""

    device, dtype = torch.device('cuda', 0), torch.float32


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
