"""The operators of the library as torch knows them: schemas, and shapes for fake tensors."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from dn_mmdet.ops.backends import cpp
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.torch_versions import needs_torch

pytestmark = NEEDS_LIBRARY

N, C, H, W, UNITS = 2, 6, 4, 5, 4
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def calls(dtype=torch.float32, layout=torch.contiguous_format):
    """Arguments of each operator, with every optional one given and left out."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    x, dy = (normal(N, C, H, W).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    plane, other, channel = normal(N, C), normal(N, C), normal(C)
    var, hidden = channel.exp(), normal(N, UNITS).sigmoid()
    kept = normal(N * (3 * C + UNITS) + 2 * C)
    fc1, bias, bounds = normal(UNITS, C), normal(UNITS), (0.0, 6.0)
    weights = [(fc1, bias, normal(2 * C, inputs), normal(C), normal(C)) for inputs in (2, UNITS)]
    found = [
        ('plane_means', (x,)),
        ('plane_moments', (x,)),
        ('plane_affine', (x, plane, other)),
        ('plane_affine', (x, plane, other, bounds)),
        ('plane_products', (dy, x, channel)),
        ('plane_products', (dy, x, channel, plane, other, bounds)),
        ('plane_gradient', (dy, x, plane, channel, other)),
        ('plane_gradient', (dy, x, plane, channel, other, plane, bounds)),
    ]
    for each in weights:
        for form in ((False, 1.0, 1.0), (True, 0.4, 1.75)):
            found += [
                ('sc_forward', (plane, channel, var, *each, 1e-5, *form)),
                ('evaluate', (x, channel, var, *each, 1e-5, *form, bounds)),
                ('evaluate', (x, channel, var, *each, 1e-5, *form)),
                ('evaluate_', (x.clone(), channel, var, *each, 1e-5, *form, bounds)),
                ('sc_backward', (plane, other, plane, channel, var, hidden, other, fc1, each[2],
                                 H * W, float(N * H * W), *form, False)),
                ('layer_forward', (x, *each, None, None, 1e-5, *form, bounds)),
                ('layer_forward', (x, *each, channel, var, 1e-5, *form)),
                ('layer_backward', (dy, x, kept, fc1, each[2], True, *form, True, bounds, True)),
                ('layer_backward', (dy, x, kept, fc1, each[2], False, *form, False, None, False)),
                ('dynamic_batch_norm', (x, channel.clone(), var.clone(), torch.tensor(3), *each,
                                        True, 0.1, 1e-5, *form, False, bounds)),
                ('dynamic_batch_norm', (x, channel, var, None, *each, False, 0.1, 1e-5, *form,
                                        False)),
                ('recomputable_batch_norm', (x, channel.clone(), var.clone(), None, *each, True,
                                             0.1, 1e-5, *form, False, bounds)),
            ]  # fmt: skip
    return found


def operator(name):
    cpp.require()
    return getattr(torch.ops.dn_mmdet, name).default


def tensors_of(results):
    return [results] if isinstance(results, torch.Tensor) else list(results or [])


def test_every_operator_is_called_here():
    known = {
        name.removeprefix('dn_mmdet::').split('.')[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith('dn_mmdet::')
    }
    assert known - {'built_for', 'interface'} == {name for name, _ in calls()}


def test_another_signature_is_another_interface():
    """Who changes this text raises the number, in library.cpp and in cpp.py."""
    signatures = {
        name: ', '.join(argument.name for argument in operator(name)._schema.arguments)
        for name in sorted({name for name, _ in calls()})
    }
    weights = 'fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset'
    assert (cpp.INTERFACE, signatures) == (4, {
        'dynamic_batch_norm': f'x, running_mean, running_var, batches, {weights}, training, '
                              'momentum, eps, normalized, fc1_scale, fc2_scale, detach_gap, bounds',
        'evaluate': f'x, mean, var, {weights}, eps, normalized, fc1_scale, fc2_scale, bounds',
        'evaluate_': f'x, mean, var, {weights}, eps, normalized, fc1_scale, fc2_scale, bounds',
        'layer_backward': 'dy, x, kept, fc1_weight, fc2_weight, training, normalized, fc1_scale, '
                          'fc2_scale, detach_gap, bounds, x_needs',
        'layer_forward': f'x, {weights}, mean, var, eps, normalized, fc1_scale, fc2_scale, bounds',
        'plane_affine': 'x, scale, shift, bounds',
        'plane_gradient': 'dy, x, scale, slope, offset, shift, bounds',
        'plane_means': 'x',
        'plane_moments': 'x',
        'plane_products': 'dy, x, mean, scale, shift, bounds',
        'recomputable_batch_norm':
            f'x, running_mean, running_var, batches, {weights}, training, momentum, eps, '
            'normalized, fc1_scale, fc2_scale, detach_gap, bounds',
        'sc_backward': 'sums, products, means, mean, rstd, hidden, scale, fc1_weight, fc2_weight, '
                       'places, count, normalized, fc1_scale, fc2_scale, detach_gap',
        'sc_forward': f'means, mean, var, {weights}, eps, normalized, fc1_scale, fc2_scale',
    })  # fmt: skip


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@needs_torch((2, 4), 'has no opcheck')
@pytest.mark.parametrize('number', range(len(calls())))
def test_opcheck(number):
    for dtype, layout in [(torch.float32, LAYOUTS[0]), (torch.bfloat16, LAYOUTS[1])]:
        name, arguments = calls(dtype, layout)[number]
        torch.library.opcheck(
            operator(name), arguments, test_utils=('test_schema', 'test_faketensor')
        )


@pytest.mark.parametrize('layout', LAYOUTS)
def test_sizes_that_are_symbols(layout):
    for name, arguments in calls(layout=layout):
        expected = operator(name)(*arguments)
        mode = FakeTensorMode(shape_env=ShapeEnv())
        with mode:
            fake = [
                mode.from_tensor(given, static_shapes=False)
                if isinstance(given, torch.Tensor) else given
                for given in arguments
            ]  # fmt: skip
            found = operator(name)(*fake)
        for real, shape in zip_strict(tensors_of(expected), tensors_of(found)):
            assert real.shape == tuple(map(int, shape.shape)) and real.dtype == shape.dtype
            assert real.stride() == tuple(map(int, shape.stride())), name


def test_what_is_passed_is_not_written_to_nor_returned():
    for name, arguments in calls():
        before = [given.clone() for given in arguments if isinstance(given, torch.Tensor)]
        results = tensors_of(operator(name)(*arguments))
        tensors = [given for given in arguments if isinstance(given, torch.Tensor)]
        written = [
            argument.alias_info is not None
            for given, argument in zip(arguments, operator(name)._schema.arguments)
            if isinstance(given, torch.Tensor)
        ]
        for tensor, copy, is_written in zip_strict(tensors, before, written):
            # In evaluation no statistics are.
            is_written &= name == 'evaluate_' or arguments[9:10] == (True,)
            assert torch.equal(tensor, copy) != is_written, name
        places = {given.data_ptr() for given in tensors}
        assert not places & {result.data_ptr() for result in results}


@pytest.mark.parametrize('name', ['sc_forward', 'sc_backward'])
def test_any_strides_of_the_numbers(name):
    for called, arguments in calls():
        if called != name:
            continue
        strided = [
            given.repeat_interleave(2, dim=0)[::2].t().contiguous().t()
            if isinstance(given, torch.Tensor) and given.dim() == 2 else given
            for given in arguments
        ]  # fmt: skip
        for found, expected in zip_strict(operator(name)(*strided), operator(name)(*arguments)):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('position', range(9))
def test_wrong_sizes_of_the_backward_are_refused(position):
    arguments = list(next(given for name, given in calls() if name == 'sc_backward'))
    arguments[position] = arguments[position][1:]
    with pytest.raises(RuntimeError, match='expected'):
        operator('sc_backward')(*arguments)
    arguments[position] = arguments[position].double()
    with pytest.raises((RuntimeError, TypeError), match='expected'):
        operator('sc_backward')(*arguments)
