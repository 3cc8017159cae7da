import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

import dn_mmdet  # noqa: F401
from dn_mmdet.backbones import MobileNetV2DN
from dn_mmdet.layers import DNB
from dn_mmdet.utils.python39 import zip_strict

register_all_modules()

NORMS = [
    dict(type='BN'),
    dict(type='DNB', r=16, g=1),
    dict(type='DNB', r=16, g='oup'),
    dict(type='DNC'),
    dict(type='SEBN'),
    dict(type='GN', num_groups=4),
]


def build(**kwargs):
    kwargs = dict(widen_factor=0.25, norm_cfg=dict(type='DNB', r=16, g='oup')) | kwargs
    return MODELS.build(dict(type='MobileNetV2DN', **kwargs))


@pytest.mark.parametrize('norm_cfg', NORMS, ids=lambda n: '-'.join(map(str, n.values())))
def test_any_norm_trains_a_step(norm_cfg):
    model = build(norm_cfg=norm_cfg, out_indices=(5, 7), expansion_indices=(5,))
    outs = model(torch.randn(2, 3, 64, 64))
    sum(o.square().mean() for o in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_features_at_full_width_are_those_of_ssdlite():
    model = build(widen_factor=1.0, out_indices=(5, 7), expansion_indices=(5,)).eval()
    with torch.no_grad():
        expansion, last = model(torch.zeros(1, 3, 320, 320))
    assert expansion.shape == (1, 576, 20, 20)
    assert last.shape == (1, 1280, 10, 10)


def test_52_norms_of_17056_channels():
    layers = [m for m in build(widen_factor=1.0).modules() if isinstance(m, DNB)]
    assert len(layers) == 52
    assert sum(layer.num_features for layer in layers) == 17056


def test_without_an_expansion_it_is_mmdets():
    torch.manual_seed(0)
    theirs = MobileNetV2(widen_factor=0.5)
    theirs.eval()
    ours = MobileNetV2DN(widen_factor=0.5).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip_strict(ours(x), theirs(x)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('with_cp', [False, True])
def test_the_expansion_leaves_the_other_features_and_gradients_alone(with_cp):
    torch.manual_seed(0)
    plain = build(out_indices=(4, 7))
    tapped = build(out_indices=(4, 5, 7), expansion_indices=(5,), with_cp=with_cp)
    tapped.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    a, b = plain(x), tapped(x)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[2])
    a[1].square().sum().backward()
    b[2].square().sum().backward()
    for p, q in zip_strict(plain.parameters(), tapped.parameters()):
        torch.testing.assert_close(p.grad, q.grad)


def test_the_expansion_of_a_block_with_a_shortcut():
    torch.manual_seed(0)
    # So narrow that stage 6 keeps its 8 channels, and its first block adds its input.
    plain = build(widen_factor=0.02, out_indices=(6,))
    tapped = build(widen_factor=0.02, out_indices=(6, 7), expansion_indices=(6,))
    assert tapped.layer7[0].with_res_shortcut
    tapped.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    expected = plain.conv2(plain(x)[0])
    torch.testing.assert_close(tapped(x)[1], expected)


def statistics(module):
    return [m.running_mean.clone() for m in module.modules() if isinstance(m, _BatchNorm)]


PARTS = ['conv1', *(f'layer{i}' for i in range(1, 8)), 'conv2']


@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), dict(type='DNB')], ids=lambda n: n['type'])
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 7, 8])
def test_frozen_stages_stand_still_from_the_start(frozen_stages, norm_cfg):
    """The stem and the last convolution too."""
    model = build(frozen_stages=frozen_stages, norm_cfg=norm_cfg)
    parts = [getattr(model, name) for name in PARTS]
    trained = [p.requires_grad for part in parts for p in part.parameters()]
    model.train()
    before = [statistics(part) for part in parts]
    # Another input than zeros, on which even statistics that move would stand still.
    outs = model((torch.randn(2, 3, 64, 64) + 1).requires_grad_())
    sum(out.square().mean() for out in outs).backward()
    for i, (part, old) in enumerate(zip_strict(parts, before)):
        frozen = i <= frozen_stages
        assert all(torch.equal(a, b) == frozen for a, b in zip_strict(old, statistics(part)))
        assert all((p.grad is None) == frozen == (not p.requires_grad) for p in part.parameters())
    assert trained == [p.requires_grad for part in parts for p in part.parameters()]


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize(
    'out_indices, expansion_indices',
    [((1, 2), ()), ((2, 5), (5,)), ((6,), (6,)), ((0,), ()), ((5, 7), (5,))],
    ids=str,
)
@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
def test_what_lies_behind_the_last_output_is_neither_run_nor_trained(
    out_indices, expansion_indices, with_cp
):
    torch.manual_seed(0)
    whole = build(
        out_indices=sorted({*out_indices, 7}), expansion_indices=expansion_indices
    ).train()
    model = build(out_indices=out_indices, expansion_indices=expansion_indices, with_cp=with_cp)
    assert list(model.state_dict()) == list(whole.state_dict())
    model.load_state_dict(whole.state_dict())
    calls = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    x = torch.randn(2, 3, 64, 64)
    outs = model.train()(x)
    for a, b in zip(outs, whole(x)):
        torch.testing.assert_close(a, b)
    sum(out.square().mean() for out in outs).backward()
    # Every parameter that is to be trained has a part in the outputs, as DDP demands it.
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    last = max(out_indices)
    assert not [c for c in calls if c.startswith(tuple(PARTS[last + 2 :]))]
    if last in expansion_indices:
        assert {c.split('.')[2] for c in calls if c.startswith(PARTS[last + 1])} == {'expand_conv'}


@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), dict(type='DNB')], ids=lambda n: n['type'])
def test_an_image_of_other_channels(norm_cfg):
    model = build(in_channels=1, norm_cfg=norm_cfg, conv_cfg=dict(type='Conv2d'))
    plain = build(norm_cfg=norm_cfg)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert (
        model.conv1.conv.weight.shape == (8, 1, 3, 3) and str(model.conv1.conv.padding) == '(1, 1)'
    )
    state = plain.state_dict()
    # Three equal channels are one channel with three times the weight.
    model.load_state_dict(state | {'conv1.conv.weight': state['conv1.conv.weight'].sum(1, True)})
    x = torch.randn(2, 1, 64, 64)
    for a, b in zip_strict(model(x), plain(x.expand(-1, 3, -1, -1))):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    if norm_cfg['type'] == 'DNB':
        assert model.conv1.norm.activation == 'ReLU6'


def test_norm_eval_stops_all_statistics_and_trains_on():
    model = build(norm_eval=True).train()
    before = statistics(model)
    model(torch.randn(2, 3, 64, 64) + 1)[-1].square().mean().backward()
    assert all(torch.equal(a, b) for a, b in zip_strict(before, statistics(model)))
    assert all(p.grad is not None for n, p in model.named_parameters() if 'layer7' in n)


def test_strides_and_depths_of_the_stages():
    model = MobileNetV2DN(
        widen_factor=0.25,
        out_indices=(0, 1, 2, 3, 4, 5, 6, 7),
        strides=(1, 2, 2, 1, 1, 1, 2),
        num_blocks=(1, 1, 2, 1, 3, 1, 1),
    )
    assert [len(getattr(model, f'layer{i}')) for i in range(1, 8)] == [1, 1, 2, 1, 3, 1, 1]
    assert [len(f[0, 0]) for f in model(torch.zeros(2, 3, 64, 64))] == [32, 16, 8, 8, 8, 8, 4, 4]
    # The class that all others are built from is as it was.
    assert [len(getattr(MobileNetV2DN(0.25), f'layer{i}')) for i in range(1, 8)] == [
        1,
        2,
        3,
        4,
        3,
        3,
        1,
    ]


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(strides=(2, 2)), 'strides must be 7 numbers, each 1 or 2'),
        (dict(strides=(1, 2, 2, 2, 1, 3, 1)), 'strides must be 7 numbers, each 1 or 2'),
        (dict(strides=2), 'strides must be 7 numbers, .* got 2'),
        (dict(num_blocks=(1, 2, 3, 4, 3, 3, 0)), 'num_blocks must be 7 numbers, each 1 or more'),
        (dict(num_blocks=(1, 2, 3, 4, 3, 3, 1.0)), 'num_blocks must be 7 numbers, each 1 or more'),
        (dict(widen_factor=0), 'widen_factor must be above 0, but got 0'),
        (dict(widen_factor='1'), "widen_factor must be above 0, but got '1'"),
        (dict(widen_factor=float('nan')), 'widen_factor must be above 0, but got nan'),
        (dict(out_indices=(0, 7), expansion_indices=(0,)), r'expansion_indices .* got \(0,\)'),
        (dict(out_indices=(7,), expansion_indices=(5,)), r'expansion_indices .* got \(5,\)'),
        (dict(out_indices=(5, 7), expansion_indices=5), 'expansion_indices must be .* got 5 with'),
        (dict(out_indices=(8,)), r'out_indices must be stages of 0 to 7, but got \(8,\)'),
        (dict(out_indices=()), r'out_indices must be stages of 0 to 7, but got \(\)'),
        (dict(out_indices=7), 'out_indices must be stages of 0 to 7, but got 7'),
        (dict(out_indices='7'), "out_indices must be stages of 0 to 7, but got '7'"),
        (dict(out_indices=(5, 5)), r'out_indices must name each stage once, but got \(5, 5\)'),
        (dict(frozen_stages=9), 'frozen_stages must be -1 to 8, but got 9'),
        (dict(frozen_stages=-2), 'frozen_stages must be -1 to 8, but got -2'),
        (dict(frozen_stages=None), 'frozen_stages must be -1 to 8, but got None'),
        (dict(frozen_stages=1.0), r'frozen_stages must be -1 to 8, but got 1\.0'),
        (dict(frozen_stages=True), 'frozen_stages must be -1 to 8, but got True'),
        (dict(in_channels=0), 'in_channels must be 1 or more, but got 0'),
        (dict(in_channels='3'), "in_channels must be 1 or more, but got '3'"),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ValueError, match=words):
        MobileNetV2DN(**kwargs)
