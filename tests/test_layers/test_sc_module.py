import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dn_mmdet.layers import DNB, DNC, SEBN, SCModule
from dn_mmdet.layers.sc_module import hidden_width
from dn_mmdet.ops import use_path
from dn_mmdet.utils.python39 import zip_strict

CONDITIONED = {'parameterization': 'conditioned', 'gain': 'bn'}

# MobileNetV2, widen factor 1, 224x224, 100 classes: expansion, channels, blocks, stride.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def mobilenet_v2():
    """Channels of its norm layers, parameters, multiply-adds."""
    size, last = 112, 32
    widths, parameters, madds = [32], 27 * 32, 27 * 32 * size**2
    for expansion, channels, blocks, first_stride in STAGES:
        for block in range(blocks):
            hidden = last * expansion
            if expansion > 1:
                widths.append(hidden)
                parameters += last * hidden
                madds += last * hidden * size**2
            size //= first_stride if block == 0 else 1
            widths += [hidden, channels]
            parameters += 9 * hidden + hidden * channels
            madds += (9 * hidden + hidden * channels) * size**2
            last = channels
    widths.append(1280)
    parameters += last * 1280 + 1280 * 100 + 100 + 2 * sum(widths)
    return widths, parameters, madds + last * 1280 * size**2 + 1280 * 100


def weight_count(layer):
    return sum(p.numel() for name, p in layer.named_parameters() if name.endswith('weight'))


def dnb_cost(c, **kwargs):
    layer = DNB(c, **kwargs)
    return sum(p.numel() for p in layer.parameters()) - 2 * c, weight_count(layer)


def dnc_cost(c, fuse):
    layer = DNC(c, fuse=fuse)
    first, second = layer.sc.fc1_weight.numel(), layer.sc.fc2_weight.numel()
    madds = 2 * first + second if fuse == 'fc1' else 2 * (first + second)
    return sum(p.numel() for p in layer.parameters()) - 2 * c, madds


def se_bn_cost(c):
    layer = SEBN(c)
    parameters = sum(p.numel() for p in layer.parameters()) - 2 * c
    return parameters, weight_count(layer) - c


@pytest.mark.parametrize(
    ('cost', 'kwargs', 'millions', 'mega_madds'),
    [
        (lambda c: (0, 0), {}, 2.35, 299.62),
        (se_bn_cost, {}, 3.73, 300.98),
        (dnc_cost, {'fuse': 'fc1'}, 3.03, 301.02),
        (dnc_cost, {'fuse': 'fc2'}, 3.03, 301.05),
        (dnb_cost, {'r': 8, 'g': 1}, 3.72, 301.02),
        (dnb_cost, {'r': 16, 'g': 1}, 3.03, 300.34),
        (dnb_cost, {'r': 32, 'g': 1}, 2.69, 300.00),
        (dnb_cost, {'r': 16, 'g': 2}, 3.07, 300.37),
        (dnb_cost, {'r': 16, 'g': 4}, 3.14, 300.44),
        (dnb_cost, {'r': 16, 'g': 'oup'}, 4.36, 301.66),
        (dnb_cost, CONDITIONED | {'r': 16, 'g': 'oup'}, 4.36, 301.66),
    ],
)
def test_sizes_of_the_paper(cost, kwargs, millions, mega_madds):
    widths, parameters, madds = mobilenet_v2()
    assert (len(widths), sum(widths)) == (52, 17056)
    for c in widths:
        more = cost(c, **kwargs)
        parameters, madds = parameters + more[0], madds + more[1]
    assert abs(parameters / 1e6 - millions) <= 0.005
    assert abs(madds / 1e6 - mega_madds) <= 0.005


@pytest.mark.parametrize(
    ('c', 'r', 'g', 'hidden'),
    [
        (96, 16, 1, 6),
        (8, 16, 1, 1),
        (24, 16, 4, 4),
        (144, 16, 4, 12),
        (144, 16, 'oup', 9),
        (8, 16, 'oup', 1),
        # Neither 5 groups of 2 nor 3 groups of 4 divide the outputs.
        (144, 16, 2, 8),
        (160, 16, 4, 8),
        (113, 16, 1, 2),
    ],
)
def test_hidden_width(c, r, g, hidden):
    assert hidden_width(c, r, g) == hidden


@pytest.mark.parametrize('c', [1, 7, 24, 114, 960])
@pytest.mark.parametrize('r', [1, 5, 16])
@pytest.mark.parametrize('g', [1, 3, 4, 'oup'])
def test_every_size_runs(c, r, g):
    sc = SCModule(c, r=r, g=g)
    nn.init.normal_(sc.fc2_weight)
    hidden = len(sc.fc1_bias)
    alpha, shift = sc(torch.randn(2, c))
    assert alpha.shape == shift.shape == (2, c)
    assert sum(p.numel() for p in sc.parameters()) == hidden * c + hidden + 2 * c * (
        hidden if g == 'oup' else g
    )


@pytest.mark.parametrize('form', [{}, CONDITIONED], ids=str)
def test_flop_counter_sees_both_layers(form):
    layer = DNB(96, g='oup', **form).eval()
    with FlopCounterMode(display=False) as counter, use_path('reference'), torch.no_grad():
        layer(torch.randn(1, 96, 4, 4))
    assert counter.get_total_flops() == 2 * weight_count(layer)


@pytest.mark.parametrize('layer', [DNB(24), DNC(24), SEBN(24), SCModule(24)], ids=repr)
def test_nothing_for_an_initialiser_to_reach(layer):
    assert not any(isinstance(m, (nn.Conv2d, nn.Linear)) for m in layer.modules())
    own = {name for name, _ in layer.named_parameters(recurse=False)}
    assert not own & {'weight', 'bias'}


def test_identity_start_is_that_of_linear():
    torch.manual_seed(0)
    sc = SCModule(64, r=4)
    torch.manual_seed(0)
    linear = nn.Linear(64, 16)
    assert torch.equal(sc.fc1_weight, linear.weight) and torch.equal(sc.fc1_bias, linear.bias)
    assert not sc.fc2_weight.any()


@pytest.mark.parametrize('start', ['identity', 'paper'])
@pytest.mark.parametrize('g', [2, 'oup'])
def test_every_form_starts_as_the_same_function(g, start):
    made = []
    for form in ({}, CONDITIONED, {'gain': 3}):
        torch.manual_seed(0)
        made.append(SCModule(64, r=4, g=g, start=start, **form))
    paper, conditioned, _ = made
    assert conditioned.fc1_weight.abs().max() > 4 * paper.fc1_weight.abs().max()
    assert not conditioned.fc1_bias.any()
    for sc in made:
        nn.init.zeros_(sc.fc1_bias)
        if start == 'identity':  # W2 starts at 0.
            nn.init.constant_(sc.fc2_weight, 1 / sc.fc2_scale)
    x = torch.randn(3, 64)
    for other in made[1:]:
        for found, expected in zip_strict(other(x), paper(x)):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ('g', 'gain', 'k'),
    [(1, 'bn', 2), (4, 'bn', 1), ('oup', 'bn', 0.5), ('oup', 'sqrt_bn', 0.5**0.5), (4, 3, 3)],
)
def test_gains(g, gain, k):
    sc = SCModule(64, r=4, g=g, gain=gain)
    assert sc.fc2_scale == pytest.approx(k) and sc.fc1_scale == 1
    assert SCModule(64, parameterization='conditioned').fc1_scale == 1 / 8


@pytest.mark.parametrize('g', [1, 4, 'oup'])
def test_a_step_moves_the_shared_part_of_alpha_as_it_moves_gamma(g):
    layer, bn = DNB(64, r=4, g=g, **CONDITIONED), nn.BatchNorm2d(64)
    nn.init.zeros_(layer.sc.fc1_weight)  # No part of a sample's own.
    x, dy = torch.randn(2, 8, 64, 5, 5)
    for norm in (layer, bn):
        norm(x).backward(dy)
        torch.optim.SGD(norm.parameters(), lr=0.1).step()
    alpha, shift, _ = layer.affine(x)
    torch.testing.assert_close(alpha, bn.weight.expand(8, -1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shift, bn.bias.expand(8, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('channels', [16, 256])
def test_a_step_moves_a_unit_no_faster_than_its_bias_however_wide_the_layer_is(channels):
    """Of a logit's move, how much is W1's, in units of what its bias moves it."""
    x = torch.randn(1, channels, generator=torch.Generator().manual_seed(0))
    moves = {}
    for name in ('paper', 'conditioned'):
        sc = SCModule(channels, r=channels, parameterization=name)
        sc.fc1(x).sum().backward()
        moves[name] = (sc.fc1_weight.grad @ x.T).item() * sc.fc1_scale
    assert moves['paper'] == pytest.approx(channels, rel=0.3)
    assert moves['conditioned'] == pytest.approx(1, rel=0.3)


def test_a_module_pickled_before_there_were_forms_is_of_the_papers():
    sc = SCModule(64, r=4)
    expected = sc(torch.ones(1, 64))
    for name in ('parameterization', 'gain', 'fc1_scale', 'fc2_scale'):
        del sc.__dict__[name]
    assert all(torch.equal(*pair) for pair in zip_strict(sc(torch.ones(1, 64)), expected))
    assert "parameterization='paper', gain=1.0" in repr(sc)


@pytest.mark.parametrize('layer', [DNB, DNC, SEBN])
def test_reset_parameters(layer):
    used = layer(24)
    used(torch.randn(2, 24, 3, 3)).sum()
    if layer is not SEBN:
        used.alpha_offset.fill_(3)
    used.reset_parameters()
    torch.manual_seed(0)
    assert not used.bn.running_mean.any()
    if layer is not SEBN:
        assert (used.alpha_offset == 1).all()


@pytest.mark.parametrize('layer', [DNB, DNC, SEBN])
@pytest.mark.parametrize('requires_grad', [True, False])
def test_requires_grad(layer, requires_grad):
    parameters = list(layer(24, requires_grad=requires_grad).parameters())
    assert parameters and {p.requires_grad for p in parameters} == {requires_grad}
