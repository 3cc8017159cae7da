"""The Triton path on a GPU: numbers, sizes, determinism, CUDA graphs."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dn_mmdet.ops import choose_path, dynamic_batch_norm, use_path
from dn_mmdet.ops.backends import triton, triton_launch
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers import operator_cases as cases
from tests.helpers.tolerances import assert_near
from tests.test_ops.test_backends import test_paths
from tests.test_ops.test_backends.test_cpp import forward_backward, maps, numbers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
LAYOUTS = [torch.contiguous_format, torch.channels_last]
# Parts of several tiles, tiles of several channels, one place, and more samples than a block.
SHAPES = [(2, 16, 160, 160), (64, 96, 20, 20), (3, 257, 7, 7), (70, 24, 5, 3), (4, 1280, 1, 1),
          (1, 3, 301, 203)]  # fmt: skip


def on_gpu(tensors):
    return [tensor.cuda() for tensor in tensors]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(case=cases.cases(), recompute=st.booleans())
def test_equals_float64(case, recompute):
    case = replace(
        case,
        x=case.x.cuda(),
        running=on_gpu(case.running),
        parameters=on_gpu(case.parameters),
        dy=case.dy.cuda(),
    )
    with use_path('triton'):
        assert choose_path(case.x) == 'triton'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_paths, 'PATHS', ['triton'])
        test_paths.test_equals_float64.hypothesis.inner_test(case, recompute)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', triton_launch.DTYPES)
@pytest.mark.parametrize('shape', SHAPES)
def test_larger_shapes(shape, dtype, layout, training):
    x, dy = (maps(shape, dtype, layout, mean=1.0, seed=seed).cuda() for seed in (0, 2))
    tensors = [x, *on_gpu(numbers(shape[1]))]
    exact = forward_backward('reference', [t.double() for t in tensors], dy.double(), training)
    actual = forward_backward('triton', tensors, dy, training)
    magnified = 1 / exact[3].min().item() if training else 1
    for i, (found, expected) in enumerate(zip_strict(actual, exact)):
        kind = dtype if i < 2 else torch.float32
        assert found.dtype == kind
        assert_near(found, expected, kind, magnified, f'number {i}')
    assert all(found.stride() == x.stride() for found in actual[:2])


@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_far_from_zero(layout):
    x = maps((4, 24, 128, 128), layout=layout, mean=1000.0).cuda()
    means, mean, var = triton.plane_moments(x)
    exact = x.double()
    torch.testing.assert_close(means.double(), exact.mean((2, 3)), rtol=0, atol=1.5e-4)
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=0, atol=1.5e-4)
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), rtol=5e-5, atol=0)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_same_bits_twice(layout):
    tensors = [maps((8, 40, 65, 64), layout=layout).cuda(), *on_gpu(numbers(40))]
    dy = maps((8, 40, 65, 64), layout=layout, seed=2).cuda()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        runs = [forward_backward('triton', tensors, dy, True) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(before)
    for other in runs[1:]:
        assert all(torch.equal(*pair) for pair in zip_strict(runs[0], other))


def test_cuda_graph():
    mean, var, *parameters = on_gpu(numbers(24))
    x, dy = (maps((4, 24, 20, 20), seed=seed).cuda() for seed in (0, 2))
    x.requires_grad_()

    def step():
        x.grad = None
        with use_path('triton'):
            y = dynamic_batch_norm(x, mean, var, *parameters, training=True, activation='ReLU6')
            y.backward(dy)
        return y

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    gradient = x.grad
    with torch.no_grad():
        x.copy_(maps((4, 24, 20, 20), mean=2.0, seed=5))
    graph.replay()
    found = recorded.detach().clone(), gradient.clone()
    expected = step().detach(), x.grad
    assert all(torch.equal(*pair) for pair in zip_strict(found, expected))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_over_2_to_the_31_elements(layout):
    shape = (1, 2, 32768, 32769)
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip('needs 24 GiB of free GPU memory')
    x = torch.zeros(shape, dtype=torch.float16, device='cuda').contiguous(memory_format=layout)
    x[:, :, -1, -1] = 8.0
    means, _, var = triton.plane_moments(x)
    assert x.numel() > 2**31
    expected = torch.tensor(64 / (shape[2] * shape[3]), device='cuda').expand(2)
    torch.testing.assert_close(var, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(means[0], expected / 8, rtol=1e-3, atol=0)
    scale = torch.tensor([[2.0, 3.0]], device='cuda')
    y = triton.plane_affine(x, scale, torch.ones_like(scale))
    assert y[0, :, -1, -1].tolist() == [17.0, 25.0] and y[0, :, -1, -2].tolist() == [1.0, 1.0]
    sums, _ = triton.plane_products(x, x, torch.zeros(2, device='cuda'))
    assert sums.tolist() == [[8.0, 8.0]]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_another_device_than_the_current_one():
    results = []
    for device in ('cuda:0', 'cuda:1'):
        tensors = [tensor.to(device) for tensor in (maps((2, 8, 9, 9)), *numbers(8))]
        dy = maps((2, 8, 9, 9), seed=2).to(device)
        results.append(forward_backward('triton', tensors, dy, True))
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip_strict(*results))
