import copy
import io

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNGN, DNIN, DNLN
from dn_mmdet.layers.inspect import norm_layers, record_affine, summarize_affine
from dn_mmdet.layers.state import PLAIN, UNTOLD_SAMPLE, form_mismatch, norm_mismatch, norms_of
from tests.helpers import equations
from tests.helpers.layer_maps import assert_equals_equations, random_maps, randomize, trained_bn

LAYERS = {DNGN: 6, DNLN: 1, DNIN: 24}
EACH = pytest.mark.parametrize('layer', LAYERS)
SHAPES = [(4, 24, 5, 7), (1, 24, 6, 6), (2, 24, 2, 3)]
CONDITIONED = {'parameterization': 'conditioned', 'gain': 1.75}


def make(layer, **kwargs):
    groups = {'num_groups': LAYERS[layer]} if layer is DNGN else {}
    return layer(24, **groups, **{'r': 4, **kwargs})


def plain(layer, affine=True):
    """The norm that it is without its SC-Module; numbers as after some training."""
    norm = nn.InstanceNorm2d(24, affine=affine) if layer is DNIN else None
    norm = norm or nn.GroupNorm(LAYERS[layer], 24, affine=affine)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return norm


@EACH
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('shape', SHAPES)
def test_equations(shape, dtype, channels_last, layer):
    norm = randomize(make(layer, g='oup'))
    if dtype == torch.float64:
        norm.double()
    x = random_maps(shape, dtype, channels_last)
    assert_equals_equations(norm, equations.sample_norm, x, True, groups=LAYERS[layer])


@EACH
@pytest.mark.parametrize('detach_gap', [True, False])
@pytest.mark.parametrize('sc_input', ['raw', 'normalized'])
@pytest.mark.parametrize('form', [{}, CONDITIONED], ids=str)
def test_equations_of_options(form, sc_input, detach_gap, layer):
    options = {'sc_input': sc_input, 'detach_gap': detach_gap, **form}
    norm = randomize(make(layer, g=2, **options))
    x = random_maps(SHAPES[0])
    assert_equals_equations(norm, equations.sample_norm, x, True, groups=LAYERS[layer], **options)


@EACH
@pytest.mark.parametrize('mean', [10.0, 1000.0])
def test_equations_far_from_zero(mean, layer):
    norm = randomize(make(layer), mean)
    x = random_maps((4, 24, 20, 21), mean=mean)
    assert_equals_equations(
        norm, equations.sample_norm, x, True, mean_over_std=mean, groups=LAYERS[layer]
    )


@EACH
@pytest.mark.parametrize('form', [{}, CONDITIONED], ids=str)
def test_starts_as_the_plain_norm(form, layer):
    x = random_maps(SHAPES[0])
    torch.testing.assert_close(make(layer, **form)(x), plain(layer, affine=False)(x))


def test_layer_norm_is_over_channels_and_places():
    x = random_maps(SHAPES[0])
    torch.testing.assert_close(make(DNLN)(x), nn.LayerNorm(x.shape[1:])(x))


@EACH
@pytest.mark.parametrize('start', ['identity', 'paper'])
def test_state_of_the_plain_norm(start, layer):
    source = nn.Sequential(plain(layer))
    target = nn.Sequential(make(layer, start=start))
    first_weight = target[0].sc.fc1_weight.clone()
    assert str(target.load_state_dict(source.state_dict())) == '<All keys matched successfully>'
    x = random_maps(SHAPES[0])
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)
    assert torch.equal(target[0].sc.fc1_weight, first_weight)


@EACH
def test_statistics_of_a_batch_are_not_taken_for_its_own(layer):
    with pytest.raises(RuntimeError, match='Missing key.*"alpha_offset"'):
        make(layer).load_state_dict(trained_bn().state_dict())
    assert norm_mismatch(make(layer), trained_bn().state_dict()) == ('BN', layer.__name__, 1)


@EACH
def test_a_state_says_what_it_is_of(layer):
    norm, state = make(layer), make(layer).state_dict()
    assert norms_of(state) == {'': layer.__name__}
    assert norms_of(dict(state)) == {'': UNTOLD_SAMPLE}
    assert norm_mismatch(norm, state) is None and norm_mismatch(norm, dict(state)) is None
    other = make(DNIN if layer is DNLN else DNLN)
    assert norm_mismatch(other, state) == (layer.__name__, type(other).__name__, 1)
    assert norm_mismatch(DNB(24), state) == (layer.__name__, 'DNB', 1)
    assert norm_mismatch(DNB(24), dict(state)) is None  # It may be of one without statistics.
    assert norm_mismatch(norm, dict(DNB(24).state_dict())) == ('DNB or DNC', layer.__name__, 1)
    assert norm_mismatch(norm, plain(layer).state_dict()) == (PLAIN, layer.__name__, 1)
    assert norm_mismatch(plain(layer), plain(layer).state_dict()) is None


@EACH
def test_weights_of_another_form_are_converted_or_refused(layer):
    source = randomize(make(layer, sc_input='normalized'))
    target = make(layer, **CONDITIONED)
    target.load_state_dict(source.state_dict())
    x = random_maps(SHAPES[0])
    torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)
    raw = make(layer)
    assert "give it sc_input='normalized'" in form_mismatch(raw, source.state_dict())[0]
    with pytest.raises(RuntimeError, match="give it sc_input='normalized'"):
        raw.load_state_dict(source.state_dict())


@EACH
def test_normalized_context_is_of_order_one_and_tells_samples_apart(layer):
    """Also where the map that is normalized has a mean of 0 in every channel."""
    norm = randomize(make(layer, **CONDITIONED))
    seen = []
    norm.sc.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = random_maps(SHAPES[0])
    y = norm(x)
    torch.testing.assert_close(seen[0].square().mean(1), torch.ones(4), rtol=1e-2, atol=0)
    assert seen[0].std(0).min() > 0.1
    # As the plain norm, the layer does not see the scale of a sample or what is added to it.
    torch.testing.assert_close(norm(100 * x + 7), y, rtol=1e-2, atol=1e-2)


@EACH
def test_samples_do_not_mix_and_modes_do_not_differ(layer):
    norm, x = randomize(make(layer)), random_maps(SHAPES[0])
    alone = torch.cat([norm(sample[None]) for sample in x])
    torch.testing.assert_close(norm(x), alone)
    assert torch.equal(norm.eval()(x), norm.train()(x))


@EACH
def test_affine_is_what_forward_does(layer):
    for form in ({}, CONDITIONED):
        norm, x = randomize(make(layer, **form)), random_maps(SHAPES[0])
        alpha, shift, hidden = norm.affine(x)
        normalized = plain(layer, affine=False)(x)
        y = normalized * alpha[:, :, None, None] + shift[:, :, None, None]
        torch.testing.assert_close(norm(x), y)
        assert hidden.shape == (4, 6)


def test_affine_is_recorded_in_a_model():
    model = nn.Sequential(*(randomize(make(layer)) for layer in LAYERS), nn.BatchNorm2d(24))
    assert list(norm_layers(model)) == ['0', '1', '2', '3']
    with record_affine(model) as records:
        model(random_maps(SHAPES[0]))
    for name in '012':
        summary = summarize_affine(records[name])
        assert summary.samples == 4 and summary.units == 6 and summary.alpha_spread > 0


@EACH
@pytest.mark.parametrize('activation', ['ReLU', 'ReLU6'])
def test_activation(activation, layer):
    norm, x = randomize(make(layer, activation=activation)), 9 * random_maps(SHAPES[0])
    other = copy.deepcopy(norm)
    other.activation = None
    assert torch.equal(norm(x), getattr(nn, activation)()(other(x)))


@EACH
def test_autocast(layer):
    norm, x = randomize(make(layer)), random_maps(SHAPES[0])
    with torch.autocast('cpu', torch.bfloat16):
        y, half = norm(x), norm(x.bfloat16())
    assert torch.equal(y, norm(x)) and y.dtype == torch.float32
    assert torch.equal(half, norm(x.bfloat16())) and half.dtype == torch.bfloat16


@EACH
@pytest.mark.parametrize('g', [1, 'oup'])
def test_empty_batch(g, layer):
    x = torch.empty(0, 24, 5, 5, requires_grad=True)
    norm = make(layer, g=g, **CONDITIONED)
    norm(x).sum().backward()
    assert norm(x).shape == x.grad.shape == x.shape


@EACH
def test_second_derivative(layer):
    groups = {'num_groups': 2} if layer is DNGN else {}
    norm = randomize(layer(4, r=2, **groups, **CONDITIONED).double())
    x = random_maps((2, 4, 1, 3), torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(norm, x, atol=1e-4)


@EACH
def test_copy_pickle_and_reset(layer):
    norm, x = randomize(make(layer)), random_maps(SHAPES[0])
    file = io.BytesIO()
    torch.save(norm, file)
    file.seek(0)
    for other in (copy.deepcopy(norm), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), norm(x))
    norm.reset_parameters()
    torch.testing.assert_close(norm(x), plain(layer, affine=False)(x))


@EACH
def test_what_is_frozen_and_what_is_trained(layer):
    names = ['sc.fc1_weight', 'sc.fc1_bias', 'sc.fc2_weight']
    assert [name for name, _ in make(layer).named_parameters()] == names
    assert list(make(layer).state_dict()) == ['alpha_offset', 'lambda_offset', *names]
    assert not any(p.requires_grad for p in make(layer, requires_grad=False).parameters())


@EACH
@pytest.mark.parametrize(
    ('name', 'value', 'error'),
    [
        ('num_features', 24.0, TypeError),
        ('eps', 0, ValueError),
        ('r', 0, ValueError),
        ('g', 'out', ValueError),
        ('start', 'zero', ValueError),
        ('requires_grad', 1, TypeError),
        ('sc_input', 'gap', ValueError),
        ('detach_gap', 'no', TypeError),
        ('activation', 'GELU', ValueError),
        ('parameterization', 'ntk', ValueError),
        ('gain', 'gamma', ValueError),
    ],
)
def test_bad_arguments(name, value, error, layer):
    with pytest.raises(error, match=f'{name} must .*{value}'):
        layer(**{'num_features': 24, name: value})


@EACH
@pytest.mark.parametrize(
    ('x', 'error', 'message'),
    [
        (torch.zeros(2, 5, 24), ValueError, r'expected 4D input \(got 3D input'),
        (torch.zeros(2, 5, 5, 24), ValueError, 'num_features=24 channels, got 5 in'),
        (torch.zeros(2, 24, 5, 5).int(), TypeError, 'floating-point dtype, got torch.int32'),
        (torch.zeros(2, 24, 5, 5).double(), TypeError, 'torch.float32, got torch.float64'),
        ([1.0], TypeError, r'Tensor of shape \(N, C, H, W\), got list'),
    ],
)
def test_bad_inputs(x, error, message, layer):
    for call in (make(layer), make(layer).affine):
        with pytest.raises(error, match=message):
            call(x)


def test_groups_that_do_not_fit():
    with pytest.raises(ValueError, match='num_groups must divide num_features=24, got 32'):
        DNGN(24)
    for value, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=f'num_groups must .*{value}'):
            DNGN(24, num_groups=value)


@pytest.mark.parametrize(
    ('layer', 'enough'), [(DNIN, 2), (DNGN, 1), (DNLN, 1)], ids=['DNIN', 'DNGN', 'DNLN']
)
def test_smallest_maps(layer, enough):
    assert make(layer)(random_maps((1, 24, 1, enough))).abs().max() > 0.1
    if enough == 2:
        with pytest.raises(ValueError, match=r'1 value .* group .*\(2, 24, 1, 1\) with 24 groups'):
            make(layer)(random_maps((2, 24, 1, 1)))


def test_the_group_of_a_norm_cfg():
    build_norm_layer = pytest.importorskip('mmcv.cnn').build_norm_layer
    pytest.importorskip('dn_mmdet.registration')
    cfg = dict(type='DNGN', num_groups=8, r=16, g='oup', requires_grad=False)
    name, layer = build_norm_layer(cfg, 32, postfix=1)
    assert name == 'gn1' and (layer.num_groups, layer.eps) == (8, 1e-5)
    assert not any(p.requires_grad for p in layer.parameters())
    for kind, abbreviation in (('DNLN', 'ln'), ('DNIN', 'in')):
        name, layer = build_norm_layer(dict(type=kind), 32)
        assert (name, type(layer).__name__) == (abbreviation, kind)
