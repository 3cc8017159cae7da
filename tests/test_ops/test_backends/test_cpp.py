"""The operators in C++: numbers, dtypes, layouts and threads, and what happens without them."""

import logging
import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dn_mmdet.ops import choose_path, dynamic_batch_norm, use_path
from dn_mmdet.ops.backends import cpp
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.tolerances import assert_near
from tests.helpers.torch_versions import needs_torch

LAYOUTS = [torch.contiguous_format, torch.channels_last]
# Blocks of 4096 places or 256 rows, vectors of 4 to 32 numbers, and what is left of each.
SHAPES = [
    (1, 3, 1, 2),
    (2, 33, 1, 1),
    (5, 1, 3, 1),
    (2, 3, 91, 90),
    (1, 40, 33, 31),
    (3, 257, 2, 2),
]
draw = random.Random(0)
SHAPES += [
    tuple(draw.choice((draw.randint(1, 9), draw.randint(1, 65))) for _ in range(4))
    for _ in range(14)
]


def maps(shape, dtype=torch.float32, layout=torch.contiguous_format, mean=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) + mean
    return x.to(dtype).contiguous(memory_format=layout)


def numbers(c, hidden=4):
    """Running statistics, weights of the SC-Module and offsets."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(c,), (c,), (hidden, c), (hidden,), (2 * c, 2), (c,), (c,)]
    tensors = [torch.randn(shape, generator=generator) / 2 for shape in shapes]
    tensors[1].exp_()
    tensors[2].div_(c**0.5)
    return tensors


def forward_backward(path, tensors, dy, training, **options):
    """Output, running statistics, and gradients of x, weights and offsets."""
    x, mean, var, *parameters = (tensor.clone() for tensor in tensors)
    leaves = [tensor.requires_grad_() for tensor in (x, *parameters)]
    with use_path(path):
        y = dynamic_batch_norm(x, mean, var, *parameters, training=training, **options)
        y.backward(dy)
    return [y.detach(), leaves[0].grad, mean, var, *(leaf.grad for leaf in leaves[1:])]


@NEEDS_LIBRARY
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', cpp.DTYPES)
def test_equals_float64(dtype, layout, training):
    for shape in SHAPES:
        if shape[0] * shape[2] * shape[3] < 3:
            continue
        x, dy = maps(shape, dtype, layout, mean=1.0), maps(shape, dtype, layout, seed=2)
        tensors = [x, *numbers(shape[1])]
        exact = forward_backward('reference', [t.double() for t in tensors], dy.double(), training)
        actual = forward_backward('cpp', tensors, dy, training)
        # A small variance would magnify what float32 rounds.
        magnified = 1 / exact[3].min().item() if training else 1
        for i, (found, expected) in enumerate(zip_strict(actual, exact)):
            kind = dtype if i < 2 else torch.float32
            assert found.dtype == kind
            assert_near(found, expected, kind, magnified, f'{shape}, number {i}')
        for found in actual[:2]:
            assert found.stride() == x.stride()


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('shape', [(4, 8, 128, 128), (2, 5, 67, 61), (2, 700, 7, 9)])
def test_moments_far_from_zero(shape, layout):
    x = maps(shape, layout=layout, mean=1000.0)
    means, mean, var = cpp.plane_moments(x)
    exact = x.double()
    torch.testing.assert_close(means.double(), exact.mean((2, 3)), rtol=0, atol=1.5e-4)
    torch.testing.assert_close(cpp.plane_means(x).double(), exact.mean((2, 3)), rtol=0, atol=2e-3)
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=0, atol=1.5e-4)
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3), correction=0), rtol=5e-5, atol=0)


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_of_blocks_that_differ(layout):
    ramp = torch.linspace(-5, 5, 2 * 90 * 91).view(2, 1, 90, 91)
    x = (maps((2, 6, 90, 91)) + 100 * ramp).contiguous(memory_format=layout)
    means, mean, var = cpp.plane_moments(x)
    exact = x.double()
    torch.testing.assert_close(means, exact.mean((2, 3)).float())
    torch.testing.assert_close(var, exact.var((0, 2, 3), correction=0).float())


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_of_constant_channels(layout):
    for value in (1e6, 0.1, 3e-30):
        x = torch.full((2, 20, 70, 70), value).contiguous(memory_format=layout)
        means, mean, var = cpp.plane_moments(x)
        assert (means == x[0, 0, 0, 0]).all() and (mean == means[0, 0]).all()
        assert var.max() <= (1e-7 * value) ** 2


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_what_is_not_finite_propagates_as_in_the_reference(value, training, layout):
    x = maps((3, 20, 66, 64), layout=layout)
    x[1, 2, 60, 3] = value
    tensors, dy = [x, *numbers(20)], maps(x.shape, layout=layout, seed=2)
    found = forward_backward('cpp', tensors, dy, training)
    expected = forward_backward('reference', tensors, dy, training)
    # The output, and the running statistics.
    for i in (0, 2, 3):
        assert torch.equal(found[i].isnan(), expected[i].isnan())
        assert torch.equal(found[i].isinf(), expected[i].isinf())
    assert found[0].isfinite().any() and not found[0].isfinite().all()


@NEEDS_LIBRARY
@pytest.mark.parametrize('dtype', cpp.DTYPES[1:])
def test_conversions_of_half_precision(dtype):
    # Every number there is, through float32 and back; adding 0 makes +0 of -0.
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).view(1, 256, 16, 16)
    one, zero = torch.ones(1, 256), torch.zeros(1, 256)
    torch.testing.assert_close(
        cpp.plane_affine(x, one, zero), x + 0, rtol=0, atol=0, equal_nan=True
    )
    # Rounding, halves of the last digit included, over and underflow.
    factor = torch.cat([torch.tensor([1 + 2**-8, 1 + 2**-11, 0.5]), maps((253,)).mul(9).exp()])
    expected = (x.float() * factor[:, None, None]).to(dtype)
    actual = cpp.plane_affine(x, factor[None], zero)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', cpp.DTYPES[1:])
def test_half_precision_is_rounded_once(dtype, layout):
    x = maps((3, 50, 19, 18), dtype, layout)
    half, full = (
        forward_backward('cpp', [given, *numbers(50)], given, True) for given in (x, x.float())
    )
    for found, expected in zip_strict(half, full):
        assert torch.equal(found, expected.to(found.dtype))


@NEEDS_LIBRARY
@pytest.mark.parametrize('view', ['sliced', 'transposed', 'channels'])
def test_input_and_gradient_of_any_strides(view):
    x = maps((4, 24, 6, 6))
    x = {'sliced': x[:, :, ::2, 1:], 'transposed': x.transpose(2, 3), 'channels': x[:, ::2]}[view]
    dy = torch.tensor(0.5).expand(x.shape)
    for training in (True, False):
        given = forward_backward('cpp', [x, *numbers(x.shape[1])], dy, training)
        dense = forward_backward('cpp', [x.contiguous(), *numbers(x.shape[1])], dy, training)
        for found, expected in zip_strict(given, dense):
            torch.testing.assert_close(found, expected)


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
def test_gradient_of_another_layout(layout):
    tensors = [maps((2, 6, 5, 4), layout=layout), *numbers(6)]
    results = [
        forward_backward('cpp', tensors, maps((2, 6, 5, 4), layout=other, seed=2), True)
        for other in LAYOUTS
    ]
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


@NEEDS_LIBRARY
@pytest.mark.parametrize('shape', [(3, 160, 26, 25), (2, 2501, 5, 3), (2, 40, 65, 64)])
@pytest.mark.parametrize('dtype', cpp.DTYPES)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_same_bits_whatever_the_number_of_threads(layout, dtype, shape):
    # Enough for two threads in each sum.
    x, dy = (maps(shape, dtype, layout, seed=seed) for seed in (0, 2))
    scale, slope = maps(shape[:2]), maps(shape[1:2])

    def run():
        means, mean, var = cpp.plane_moments(x)
        return [
            *(means, mean, var, cpp.plane_means(x), *cpp.plane_products(dy, x, mean)),
            *(cpp.plane_affine(x, scale, means), cpp.plane_gradient(dy, x, scale, slope, means)),
        ]

    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 1, 2, 3):
            torch.set_num_threads(number)
            results.append(run())
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip_strict(results[0], other))


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', cpp.DTYPES)
@pytest.mark.parametrize('shape', [*SHAPES[:6], (4, 5, 30, 31), (6, 4, 9, 3)])
def test_in_place_the_same_bits(shape, dtype, layout):
    """Large samples are taken one by one, small ones together."""
    x, others = maps(shape, dtype, layout), numbers(shape[1])
    rest = (1e-5, False, 1.0, 1.0, (0.0, 6.0))
    wide = x.repeat_interleave(2, dim=3)[..., ::2]
    for given in (x, wide):
        expected = torch.ops.dn_mmdet.evaluate(given, *others, *rest)
        assert torch.ops.dn_mmdet.evaluate_(given, *others, *rest) is None
        assert torch.equal(given, expected)


@NEEDS_LIBRARY
def test_empty_maps():
    for shape in [(0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 4, 4)]:
        for layout in LAYOUTS:
            x = torch.empty(shape).contiguous(memory_format=layout)
            assert cpp.plane_moments(x)[0].shape == cpp.plane_means(x).shape == shape[:2]
            assert cpp.plane_affine(x, *torch.zeros(2, *shape[:2])).shape == shape
            assert not cpp.plane_products(x, x, torch.zeros(shape[1]))[0].any()
    with use_path('cpp'):
        x = torch.empty(0, 3, 4, 4, requires_grad=True)
        y = dynamic_batch_norm(x, *numbers(3, hidden=2), training=True)
        y.sum().backward()
    assert y.shape == x.grad.shape == x.shape


@NEEDS_LIBRARY
@pytest.mark.parametrize('layout', LAYOUTS)
def test_inplace_activation_behind(layout):
    x = maps((2, 6, 5, 4), layout=layout).requires_grad_()
    with use_path('cpp'):
        y, other = (dynamic_batch_norm(x, *numbers(6), training=True) for _ in range(2))
    assert torch.equal(nn.ReLU6(inplace=True)(y), nn.ReLU6()(other))


@NEEDS_LIBRARY
@needs_torch((2, 4), 'has no opcheck')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_fake_tensors_and_schemas():
    x, dy = maps((2, 3, 4, 5)), maps((2, 3, 4, 5), seed=2)
    plane, channel = maps((2, 3)), maps((3,))
    calls = {
        'plane_means': (x,),
        'plane_moments': (x,),
        'plane_affine': (x, plane, plane),
        'plane_products': (dy, x, channel),
        'plane_gradient': (dy, x, plane, channel, plane),
    }
    for name, args in calls.items():
        operator = getattr(torch.ops.dn_mmdet, name).default
        for layout in LAYOUTS:
            laid = [t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in args]
            torch.library.opcheck(operator, laid, test_utils=['test_schema', 'test_faketensor'])


@NEEDS_LIBRARY
def test_wrong_arguments():
    x, plane, channel = maps((2, 3, 4, 5)), maps((2, 3)), maps((3,))
    with pytest.raises(TypeError, match='float32, bfloat16 or float16, got Double'):
        cpp.plane_means(x.double())
    with pytest.raises(RuntimeError, match='4D input'):
        cpp.plane_moments(plane)
    with pytest.raises(RuntimeError, match='contiguous or channels_last'):
        cpp.plane_means(x.transpose(2, 3))
    with pytest.raises(RuntimeError, match=r'scale of float32, one number per sample and channel'):
        cpp.plane_affine(x, channel, plane)
    with pytest.raises(RuntimeError, match='shift of float32'):
        cpp.plane_affine(x, plane, plane.double())
    with pytest.raises(RuntimeError, match=r'mean of float32, one number per channel'):
        cpp.plane_products(x, x, plane)
    for dy in (x[:1], x.bfloat16(), x.contiguous(memory_format=torch.channels_last)):
        with pytest.raises(RuntimeError, match='gradient of the size, dtype, device and memory'):
            cpp.plane_gradient(dy, x, plane, channel, plane)


@NEEDS_LIBRARY
def test_what_it_does_not_know_takes_the_reference():
    with use_path('cpp'):
        assert choose_path(maps((2, 3, 4, 4))) == 'cpp'
        assert choose_path(maps((2, 3, 4, 4)).double()) == 'reference'
        assert choose_path(maps((2, 3, 4, 4)).to('meta')) == 'reference'
    x, parameters = maps((2, 3, 4, 4)), [tensor.double() for tensor in numbers(3)]
    results = []
    for path in ('reference', 'cpp'):
        with use_path(path):
            running = [tensor.clone() for tensor in parameters[:2]]
            results.append(dynamic_batch_norm(x, *running, *parameters[2:], training=True))
    assert torch.equal(*results)


@pytest.fixture
def forget():
    """The library is looked for anew, in the test and after it."""
    caches = (cpp.why_absent, cpp.is_available)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize('reason', ['has not been built', 'file too short|invalid ELF'])
def test_without_the_library_aten_serves_and_is_told_of_once(
    reason, forget, monkeypatch, tmp_path, caplog
):
    library = tmp_path / '_cpp.so'
    if 'built' not in reason:
        library.write_bytes(b'no library')
    monkeypatch.setattr(cpp, 'LIBRARY', library)
    monkeypatch.delenv('DN_MMDET_OPS', raising=False)
    x = maps((2, 3, 4, 4))
    with caplog.at_level(logging.WARNING, 'dn_mmdet'):
        assert choose_path(x) == choose_path(x) == 'aten'
    (record,) = caplog.records
    assert 'so the slower ATen path is used; to enable them, ' in record.getMessage()
    assert 'pip install --no-build-isolation' in record.getMessage()
    assert "'make install'" in record.getMessage()
    dynamic_batch_norm(x, *numbers(3), training=True)
    with pytest.raises(RuntimeError, match=f"'cpp' was requested, .*({reason})"):
        use_path('cpp').__enter__()
    assert choose_path(x) == 'aten'
    monkeypatch.setenv('DN_MMDET_OPS', 'cpp')
    with pytest.raises(RuntimeError, match='pip install --no-build-isolation'):
        choose_path(x)
    assert len(caplog.records) == 1


def test_each_torch_has_a_library_of_its_own_in_a_shared_tree(monkeypatch):
    root, given = Path(__file__).parents[3], {}
    # In place of setuptools' own, which mmengine breaks when it loads pkg_resources again.
    monkeypatch.setattr(pytest.importorskip('setuptools'), 'setup', given.update)
    runpy.run_path(str(root / 'setup.py'))
    (extension,) = given['ext_modules']
    assert root.joinpath(*extension.name.split('.')).with_suffix('.so') == cpp.LIBRARY
    monkeypatch.setattr(torch, '__version__', '2.0.1+cpu')
    runpy.run_path(str(root / 'setup.py'))
    (other,) = given['ext_modules']
    assert other.name.endswith('_2_0_1') and other.name != extension.name


@NEEDS_LIBRARY
def test_a_library_of_another_torch_is_not_used(forget, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.0.1+cpu')
    with pytest.raises(RuntimeError, match=r'built for torch .*, this is 2\.0\.1'):
        use_path('cpp').__enter__()
    cpp.why_absent.cache_clear()
    monkeypatch.undo()
    assert not cpp.why_absent()


@NEEDS_LIBRARY
@pytest.mark.parametrize('there', [True, False])
def test_a_library_of_other_sources_is_not_used(there, forget, monkeypatch):
    if there:
        monkeypatch.setattr(cpp, 'INTERFACE', cpp.INTERFACE + 1)
    else:
        # As the first libraries had it, which cannot say.
        monkeypatch.setattr(cpp, '_operators', SimpleNamespace(built_for=cpp._operators.built_for))
    with pytest.raises(RuntimeError, match='the sources of another version of dn_mmdet'):
        use_path('cpp').__enter__()
    assert choose_path(maps((2, 3, 4, 4))) == 'aten'
