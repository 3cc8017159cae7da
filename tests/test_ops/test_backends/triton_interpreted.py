"""The Triton kernels under Triton's interpreter, on tensors in host memory.

test_triton.py runs this file in a process of its own: where the kernels are interpreted, Triton
compiles nothing any more. Each program costs milliseconds, so maps are small, and tiles too.
"""

import os

os.environ['TRITON_INTERPRET'] = '1'

import random

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from triton.runtime import interpreter

from dn_mmdet.ops import choose_path, dynamic_batch_norm, sc, use_path
from dn_mmdet.ops.activation import Gate
from dn_mmdet.ops.backends import triton, triton_launch
from dn_mmdet.ops.backends.triton_kernels import tiling
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers import operator_cases as cases
from tests.test_ops.test_backends import test_paths
from tests.test_ops.test_backends.test_cpp import forward_backward, maps, numbers

LAYOUTS = [torch.contiguous_format, torch.channels_last]

cases.MAX_SIZE, cases.LARGEST = 120, 6
test_paths.PATHS = ['triton']


@pytest.fixture(autouse=True, scope='module')
def round_to_bfloat16():
    """Triton 3.7 interprets the conversion by cutting digits off; a GPU rounds."""
    convert = interpreter._convert_float

    def rounded(numbers, given, wanted, mode):
        if str(wanted) != 'bf16':
            return convert(numbers, given, wanted, mode)
        return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, '_convert_float', rounded)
        yield


@pytest.fixture
def small_tiles(monkeypatch):
    """Several tiles in a part, and several parts."""
    monkeypatch.setattr(tiling, 'TILE', 16)
    monkeypatch.setattr(tiling, 'CHANNELS', 4)
    monkeypatch.setattr(tiling, 'PROGRAMS', 20)


# To shrink what fails would take minutes here.
@settings(max_examples=8, deadline=None, derandomize=True, database=None,
          phases=[Phase.generate])  # fmt: skip
@given(case=cases.cases(), recompute=st.booleans(), tile=st.sampled_from([32, 2048]))
def test_equals_float64(case, recompute, tile):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, 'TILE', tile)
        test_paths.test_equals_float64.hypothesis.inner_test(case, recompute)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('mean', [0.0, 1000.0])
def test_moments_of_several_parts(mean, layout, small_tiles):
    x = maps((2, 5, 9, 7), layout=layout, mean=mean)
    cut = tiling.tile(x, summed=True)
    assert cut.tiles > 1 and cut.parts > 1
    means, mean, var = triton.plane_moments(x)
    exact = x.double()
    # In units of the last place of the mean.
    close = {'rtol': 1.2e-7, 'atol': 2e-7}
    torch.testing.assert_close(means.double(), exact.mean((2, 3)), **close)
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), **close)
    torch.testing.assert_close(triton.plane_means(x).double(), exact.mean((2, 3)), rtol=3e-7,
                               atol=1e-6)  # fmt: skip
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), rtol=2e-5, atol=0)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_of_tiles_that_differ(layout, small_tiles):
    # The first tile, the pivot, is far from all others.
    x = maps((1, 1, 9, 7))
    x[0, 0, :2] += 1e4
    _, mean, var = triton.plane_moments(x.contiguous(memory_format=layout))
    exact = x.double()
    close = {'rtol': 1e-6, 'atol': 0}
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), **close)
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), **close)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('gated', [False, True])
def test_products_of_several_parts(gated, layout, small_tiles):
    x, dy = (maps((2, 5, 9, 7), layout=layout, seed=seed) for seed in (0, 2))
    # Steep enough for both bounds.
    mean, scale, shift = torch.rand(5), 8 * maps((2, 5), seed=3), maps((2, 5), seed=4)
    gate = Gate(scale, shift, (0.0, 6.0)) if gated else None
    sums, products = triton.plane_products(dy, x, mean, gate)
    dy = dy.double()
    if gated:
        y = x.double() * scale[:, :, None, None] + shift[:, :, None, None]
        assert (y < 0).any() and (y > 6).any()
        dy = dy * ((y > 0) & (y < 6))
    centered = x.double() - mean[:, None, None]
    torch.testing.assert_close(sums.double(), dy.sum((2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(products.double(), (dy * centered).sum((2, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('value', 'place', 'training', 'layout', 'activation'),
    [
        # In the first tile, and in a later one.
        (float('nan'), (0, 1, 0, 0), True, LAYOUTS[0], 'ReLU6'),
        (float('nan'), (1, 2, 4, 3), False, LAYOUTS[1], 'ReLU'),
        (float('inf'), (0, 1, 0, 0), True, LAYOUTS[1], None),
        (-float('inf'), (1, 2, 4, 3), True, LAYOUTS[0], None),
    ],
)
def test_what_is_not_finite_propagates_as_in_the_reference(
    value, place, training, layout, activation, small_tiles
):
    x, dy = (maps((2, 4, 5, 5), layout=layout, seed=seed) for seed in (0, 2))
    x[place] = value
    tensors = [x, *numbers(4)]
    found, expected = (
        forward_backward(path, tensors, dy, training, activation=activation)
        for path in ('triton', 'reference')
    )
    # The output, and the running statistics.
    for i in (0, 2, 3):
        assert torch.equal(found[i].isnan(), expected[i].isnan())
        assert torch.equal(found[i].isinf(), expected[i].isinf())
    assert found[0].isfinite().any() and not found[0].isfinite().all()


def test_the_order_of_programs_changes_no_bit(small_tiles, monkeypatch):
    # Another program is then the last of its channels or of its sample.
    builder = interpreter.interpreter_builder
    set_index = builder.set_grid_idx
    ran = []

    def run():
        tensors = [maps((2, 18, 2, 5), layout=torch.channels_last), *numbers(18)]
        return forward_backward('triton', tensors, maps((2, 18, 2, 5), seed=2), True,
                                sc_input='normalized', activation='ReLU6')  # fmt: skip

    expected = run()

    def shuffled(x, y, z):
        size = builder.grid_dim[0]
        ran.append(random.Random(0).sample(range(size), size)[x])
        set_index(ran[-1], y, z)

    monkeypatch.setattr(builder, 'set_grid_idx', shuffled)
    assert all(torch.equal(*pair) for pair in zip_strict(expected, run()))
    assert not any(counter.any() for counter in triton_launch._counters.values())
    assert ran[:5] != sorted(ran[:5]) and 0 in ran


@pytest.mark.parametrize('training', [True, False])
def test_launches(training):
    tensors, dy = [maps((1, 2, 2, 3)), *numbers(2)], maps((1, 2, 2, 3), seed=2)
    with triton_launch.note_launches() as launches:
        forward_backward('triton', tensors, dy, training, activation='ReLU')
    assert [launch.kernel for launch in launches] == [
        'sums.moments', 'maps.modulate',
        'sums.products', 'sc.backward_of_channels', 'maps.gradient',
    ]  # fmt: skip
    with triton_launch.note_launches() as launches, use_path('triton'):
        dynamic_batch_norm(*tensors, training=False)
    assert [launch.kernel for launch in launches] == ['sums.moments', 'maps.modulate']


def test_running_statistics_are_known_to_have_changed():
    mean, var, *parameters = numbers(2)
    versions = mean._version, var._version
    with use_path('triton'):
        dynamic_batch_norm(maps((1, 2, 2, 3)), mean, var, *parameters, training=True)
    assert mean._version > versions[0] and var._version > versions[1]


@pytest.mark.parametrize('momentum', [0.3, 1.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_running_statistics(momentum, dtype):
    x, (mean, var, *parameters) = maps((2, 3, 2, 3)), numbers(3)
    found = mean.to(dtype), var.to(dtype)
    expected = mean.double(), var.double()
    for running, path, input_ in ((found, 'triton', x), (expected, 'reference', x.double())):
        with use_path(path):
            dynamic_batch_norm(input_, *running, *parameters, training=True, momentum=momentum)
    for number, exact in zip_strict(found, expected):
        torch.testing.assert_close(
            number.double(),
            exact,
            rtol=1e-5 if dtype == torch.float32 else 1e-2,
            atol=1e-6 if dtype == torch.float32 else 1e-2,
        )


@pytest.mark.parametrize(
    ('groups', 'form', 'frozen'),
    [(1, (True, 0.4, 1.75), False), (2, (False,), True), (18, (True,), True)],
)
def test_sc_module_in_several_blocks(groups, form, frozen, monkeypatch):
    monkeypatch.setattr(tiling, 'CHANNELS', 16)
    monkeypatch.setattr(triton, 'BESIDE', 256)
    monkeypatch.setattr(triton, 'TILE', 64 * 32)
    monkeypatch.setattr(triton, 'SAMPLES', 16)
    monkeypatch.setattr(triton, 'UNITS', 16)
    n, c, h = 17 if groups == 1 else 2, 18, 18
    draw = torch.Generator().manual_seed(0)
    shapes = [(n, c, 1, 3), (c,), (c,), (h, c), (h,), (2 * c, h // groups), (c,), (c,)]
    x, mean, var, *weights = [torch.randn(shape, generator=draw) / 3 for shape in shapes]
    given = (mean, var.exp()) if frozen else (None, None)
    weights, form, bounds = sc.SCWeights(*weights), sc.SCForm(*form), (-0.1, 0.1)
    y, means, mean, var, *found = triton.fused_forward(x, *given, weights, 1e-5, form, bounds)
    if frozen:
        assert torch.equal(mean, given[0]) and torch.equal(var, given[1])
    torch.testing.assert_close(means, x.mean((2, 3)))
    forward = sc.sc_forward(means, mean, var, weights, 1e-5, form)
    alone = triton.sc_forward(means, mean, var, weights, 1e-5, form)
    for *numbers_, exact in zip_strict(found, alone, forward):
        for number in numbers_:
            torch.testing.assert_close(number, exact, rtol=1e-5, atol=1e-5)
    rstd, hidden, scale, shift = found
    assert torch.equal(y, triton.plane_affine(x, scale, shift, bounds))

    dy, gate = torch.randn(x.shape, generator=draw), Gate(scale, shift, bounds)
    count = 0 if frozen else 3 * n
    given = means, mean, rstd, hidden, scale, weights.fc1_weight, weights.fc2_weight
    found = triton.fused_gradients(dy, x, *given, count, form, False, gate)
    sums = triton.plane_products(dy, x, mean, gate)
    expected = sc.sc_backward(*sums, *given, 3, count, form, False)
    for name, value in found._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name), rtol=1e-4, atol=1e-5, msg=name)


def test_kernels_that_processes_use_between_their_exchanges_compute_the_same(monkeypatch):
    tensors, dy = [maps((2, 5, 3, 4)), *numbers(5)], maps((2, 5, 3, 4), seed=2)
    runs = []
    for fuses in (True, False):
        monkeypatch.setattr(triton, 'FUSES', fuses)
        for training in (True, False):
            runs.append(forward_backward('triton', tensors, dy, training, activation='ReLU6'))
    for fused, apart in zip_strict(runs[:2], runs[2:]):
        for pair in zip_strict(fused, apart):
            torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)


def test_what_it_does_not_know_takes_the_reference():
    x = maps((2, 3, 4, 4))
    with use_path('triton'):
        assert choose_path(x) == choose_path(x.half()) == choose_path(x.bfloat16()) == 'triton'
        assert choose_path(x.double()) == choose_path(x.to('meta')) == 'reference'
        assert choose_path(x[:0]) == 'reference'
        with pytest.raises(ValueError, match='more than 1 value per channel'):
            dynamic_batch_norm(x[:1, :, :1, :1], *numbers(3, hidden=2), training=True)
    with use_path('auto'):
        assert choose_path(x) != 'triton'
