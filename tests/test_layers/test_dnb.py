import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dn_mmdet.layers import DNB
from dn_mmdet.ops import use_path
from tests.helpers import equations
from tests.helpers.layer_maps import assert_equals_equations, random_maps, randomize, trained_bn
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.tolerances import assert_near
from tests.helpers.torch_versions import FLOAT16

# Paths that leave the statistics to PyTorch's BatchNorm.
TORCH_BN = ('reference', 'members')

SHAPES = [(4, 24, 5, 7), (3, 32, 1, 1), (1, 16, 6, 6), (3, 40, 33, 32)]


@pytest.fixture(
    params=['reference', 'aten', pytest.param('cpp', marks=NEEDS_LIBRARY), 'members'], autouse=True
)
def path(request, monkeypatch):
    """Each implementation of the operator, and the layer calling its members one by one."""
    if request.param == 'members':
        monkeypatch.setattr(DNB, '_uses_operator', lambda self, x: False)
        yield 'members'
        return
    with use_path(request.param):
        yield request.param


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', SHAPES)
def test_equations(shape, dtype, batch, channels_last):
    layer = randomize(DNB(shape[1], r=4, g='oup').train(batch).to(dtype))
    x = random_maps(shape, dtype, channels_last)
    assert_equals_equations(layer, equations.dnb, x, batch)


@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize(('r', 'g'), [(16, 1), (4, 1), (4, 2), (8, 4), (2, 8), (4, 'oup'), (99, 1)])
def test_equations_of_r_and_g(r, g, batch):
    layer = randomize(DNB(24, r=r, g=g).train(batch))
    assert_equals_equations(layer, equations.dnb, random_maps(SHAPES[0]), batch)


@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('detach_gap', [True, False])
@pytest.mark.parametrize('sc_input', ['raw', 'normalized'])
@pytest.mark.parametrize('form', [{}, {'parameterization': 'conditioned', 'gain': 1.75}], ids=str)
def test_equations_of_options(form, sc_input, detach_gap, batch):
    options = {'sc_input': sc_input, 'detach_gap': detach_gap, **form}
    layer = randomize(DNB(24, r=4, g=2, **options).train(batch))
    assert_equals_equations(layer, equations.dnb, random_maps(SHAPES[0]), batch, **options)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('mean', [10.0, 100.0, 1000.0])
@pytest.mark.parametrize('sc_input', ['raw', 'normalized'])
def test_equations_far_from_zero(sc_input, mean, batch, channels_last, path):
    layer = randomize(DNB(24, r=4, sc_input=sc_input), mean).train(batch)
    x = random_maps((4, 24, 20, 21), channels_last=channels_last, mean=mean)
    # PyTorch's own BatchNorm adds up channels_last maps one number after the other: its means, and
    # with them what a normalized input says, are off by some 20 times as much.
    summed = channels_last and batch and sc_input == 'normalized' and path in TORCH_BN
    assert_equals_equations(
        layer,
        equations.dnb,
        x,
        batch,
        mean_over_std=mean * (20 if summed else 1),
        sc_input=sc_input,
    )


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
def test_equations_in_bfloat16(batch, channels_last):
    layer = randomize(DNB(24, r=4).train(batch))
    x = random_maps(SHAPES[0], torch.bfloat16, channels_last)
    assert_equals_equations(layer, equations.dnb, x, batch)


@pytest.mark.parametrize('shape', [(4, 24, 7, 9), (32, 24, 28, 28)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_constant_channel_is_finite(shape, channels_last):
    x = torch.full(shape, 1e6)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y = DNB(24)(x.requires_grad_())
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('form', [{}, {'parameterization': 'conditioned', 'gain': 'bn'}], ids=str)
def test_starts_as_bn_without_affine(form, batch, channels_last, path):
    layer, bn = DNB(24, eps=1e-3, **form).train(batch), nn.BatchNorm2d(24, eps=1e-3, affine=False)
    bn.train(batch)
    x = random_maps(SHAPES[0], channels_last=channels_last)
    if path not in ('aten', 'cpp'):
        assert torch.equal(layer(x), bn(x))
    else:
        torch.testing.assert_close(layer(x), bn(x), rtol=0, atol=1e-6)
    for name, value in bn.state_dict().items():
        torch.testing.assert_close(layer.bn.state_dict()[name], value, rtol=1e-6, atol=1e-7)


def test_paper_start_is_random_around_zero():
    layer = DNB(64, start='paper')
    assert not layer.alpha_offset.any() and not layer.sc.fc1_bias.any()
    assert layer.sc.fc2_weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.3)


@pytest.mark.parametrize('shape', SHAPES[:1])
def test_inner_bn_alone_decides_about_statistics(shape):
    layer = randomize(DNB(24, r=4)).train()
    layer.bn.eval()
    before = copy.deepcopy(layer.bn.state_dict())
    assert_equals_equations(layer, equations.dnb, random_maps(shape), batch=False)
    for name, value in before.items():
        assert torch.equal(layer.bn.state_dict()[name], value)


@pytest.mark.parametrize('momentum', [0.3, None])
def test_running_statistics_over_batches(momentum):
    layer, bn = DNB(24, momentum=momentum), nn.BatchNorm2d(24, momentum=momentum)
    for seed in range(3):
        layer(random_maps(SHAPES[0], seed=seed))
        bn(random_maps(SHAPES[0], seed=seed))
    for name in ('running_mean', 'running_var', 'num_batches_tracked'):
        torch.testing.assert_close(layer.bn.state_dict()[name], bn.state_dict()[name])


def test_without_running_statistics_uses_the_batch():
    layer = randomize(DNB(24, track_running_stats=False)).eval()
    x = random_maps(SHAPES[0])
    numbers, exact_x = equations.float64_copy(layer, x)
    numbers |= {'bn.running_mean': torch.zeros(24), 'bn.running_var': torch.ones(24)}
    assert_near(layer(x), equations.dnb(exact_x, numbers), torch.float32)


def test_samples_do_not_mix_in_evaluation():
    layer = randomize(DNB(24, r=4)).eval()
    x = random_maps(SHAPES[0])
    whole, alone = layer(x), torch.cat([layer(sample[None]) for sample in x])
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize('view', ['sliced', 'transposed', 'expanded gradient'])
def test_input_of_any_strides(view):
    x = random_maps((4, 24, 6, 6))
    x = {'sliced': x[:, :, ::2, 1:], 'transposed': x.transpose(2, 3)}.get(view, x)
    layer = randomize(DNB(24, r=4))
    grads = []
    for given in (x.detach().requires_grad_(), x.detach().contiguous().requires_grad_()):
        layer(given).sum().backward()
        grads.append(given.grad)
    torch.testing.assert_close(*grads)


def test_inplace_activation_behind():
    x = random_maps(SHAPES[0]).requires_grad_()
    layer = randomize(DNB(24, r=4))
    expected = nn.ReLU6()(layer(x))
    torch.testing.assert_close(nn.ReLU6(inplace=True)(layer(x)), expected)


@pytest.mark.parametrize('g', [1, 2, 'oup'])
def test_empty_batch(g):
    x = torch.empty(0, 24, 5, 5, requires_grad=True)
    layer = DNB(24, r=4, g=g)
    layer(x).sum().backward()
    assert layer.eval()(x).shape == x.shape
    assert not layer.bn.running_mean.any()


@pytest.mark.parametrize('use_reentrant', [True, False])
def test_gradient_checkpointing(use_reentrant):
    layer = randomize(DNB(24, r=4))
    grads = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=use_reentrant)):
        x = random_maps(SHAPES[0]).requires_grad_()
        layer.zero_grad()
        run(x).square().sum().backward()
        grads.append([x.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*grads)


def test_deepcopy_and_pickle_after_training_step():
    layer = randomize(DNB(24, r=4))
    x = random_maps(SHAPES[0]).requires_grad_()
    layer(x).sum().backward()
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    layer.eval()
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False).eval()):
        assert torch.equal(other(x), layer(x))
    holds = [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
    assert not holds


@pytest.mark.parametrize('training', [True, False])
def test_autocast_contract(training):
    layer = randomize(DNB(24, r=4)).train(training)
    x = random_maps(SHAPES[0], torch.bfloat16)
    expected = copy.deepcopy(layer)(x.float())
    given = x.clone().requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        y = layer(given)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and given.grad.dtype == torch.bfloat16
    assert torch.equal(y, expected.to(torch.bfloat16))
    assert {value.dtype for value in layer.bn.state_dict().values()} == {
        torch.float32,
        torch.int64,
    }
    assert layer.sc.fc1_weight.grad.dtype == torch.float32


@pytest.mark.parametrize('dtype', [FLOAT16, torch.bfloat16])
@pytest.mark.parametrize('training', [True, False])
def test_layer_converted_to_half_precision(training, dtype, path):
    layer = randomize(DNB(24, r=4)).train(training).to(dtype)
    exact = copy.deepcopy(layer).float()
    x = random_maps(SHAPES[0], dtype)
    y, exact_y = layer(x), exact(x.float())
    y.sum().backward()
    assert y.dtype == dtype
    assert_near(layer.bn.running_var, exact.bn.running_var, torch.bfloat16)
    with torch.no_grad():
        assert_near(layer(x), y, torch.bfloat16)
    if path == 'members':
        assert_near(y, exact_y, torch.bfloat16)
    else:
        assert torch.equal(y, exact_y.to(dtype))


@pytest.mark.parametrize('part', ['bn', 'sc'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_layer_of_which_a_part_was_converted(dtype, part):
    layer = randomize(DNB(24, r=4)).eval()
    exact = copy.deepcopy(layer)
    getattr(layer, part).to(dtype)
    x = random_maps(SHAPES[0])
    with torch.no_grad():
        assert_near(layer(x), exact(x), torch.bfloat16)
    assert_near(layer(x), exact(x), torch.bfloat16)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', ['running_mean', 'running_var'])
def test_running_statistics_of_another_size(name, training):
    layer = DNB(24, r=4).train(training)
    setattr(layer.bn, name, torch.ones(5))
    with pytest.raises(RuntimeError, match=r'24\D+5\b|\b5\D+24'), torch.no_grad():
        layer(random_maps(SHAPES[0]))


@pytest.mark.parametrize('momentum', [0.1, None])
def test_batches_that_nobody_counts(momentum):
    layer, bn = DNB(24, momentum=momentum), nn.BatchNorm2d(24, momentum=momentum)
    layer.bn.num_batches_tracked = bn.num_batches_tracked = None
    x = random_maps(SHAPES[0])
    layer(x)
    bn(x)
    torch.testing.assert_close(layer.bn.running_mean, bn.running_mean)
    torch.testing.assert_close(layer.bn.running_var, bn.running_var)


@pytest.mark.parametrize('kwargs', [{}, {'start': 'paper'}, {'r': 2, 'g': 'oup'}])
def test_from_bn_equals_the_bn(kwargs):
    bn = trained_bn(24, eps=1e-3, momentum=0.2)
    x = random_maps(SHAPES[0])
    layer = DNB.from_bn(bn, **kwargs)
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(layer.train()(x), bn.train()(x), rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(layer.bn.running_var, bn.running_var)


def test_replaced_bn_is_called():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = DNB(24).eval(), random_maps(SHAPES[0])
    expected = 2 * layer(x)
    layer.bn = Doubled(24, affine=False).eval()
    torch.testing.assert_close(layer(x), expected)


def test_hooks_on_members_run():
    layer = DNB(24)
    seen = []
    layer.bn.register_forward_hook(lambda *_: seen.append('bn'))
    layer.sc.register_forward_hook(lambda *_: seen.append('sc'))
    layer(random_maps(SHAPES[0]))
    assert seen == ['bn', 'sc']


@pytest.mark.parametrize('member', ['bn', 'sc'])
@pytest.mark.parametrize('kind', ['register_full_backward_hook', 'register_full_backward_pre_hook'])
def test_backward_hooks_on_members_run(kind, member):
    layer, seen = DNB(24), []
    getattr(getattr(layer, member), kind)(lambda *_: seen.append(member))
    layer(random_maps(SHAPES[0]).requires_grad_()).sum().backward()
    assert seen == [member]
