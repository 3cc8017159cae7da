import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import dn_mmdet  # noqa: F401
from dn_mmdet.backbones import ResNetDN
from dn_mmdet.engine.preflight.checkpoint import match_state
from dn_mmdet.layers import DNB
from dn_mmdet.layers.state import norm_mismatch
from dn_mmdet.utils.python39 import zip_strict

register_all_modules()

DNB_OUP = dict(type='DNB', r=16, g='oup', eps=1e-3)
NORMS = [
    dict(type='BN'),
    DNB_OUP,
    dict(type='DNB', r=4, g=1),
    dict(type='DNC'),
    dict(type='SEBN'),
    dict(type='GN', num_groups=4),
]


def build(**kwargs):
    return MODELS.build(
        dict(type='ResNetDN') | dict(depth=18, base_channels=8, norm_cfg=DNB_OUP) | kwargs
    )


def randomize(model):
    """Statistics, gammas and betas as after training."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize('depth, blocks', [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))])
def test_the_structure_is_the_papers(depth, blocks):
    model = build(depth=depth, base_channels=64)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (2, 2))
    stages = [getattr(model, name) for name in model.res_layers]
    assert tuple(map(len, stages)) == blocks
    assert [s[0].downsample[0].kernel_size for s in stages] == [(1, 1)] * 4
    # One in the stem, two a block, one in each shortcut that is a convolution.
    assert sum(isinstance(m, DNB) for m in model.modules()) == 1 + 2 * sum(blocks) + 4
    assert all(m.bn.eps == 1e-3 for m in model.modules() if isinstance(m, DNB))
    with torch.no_grad():
        outs = model.eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(o.shape[1:]) for o in outs] == [
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]


def test_behind_the_stem_it_is_mmdets():
    torch.manual_seed(0)
    theirs = randomize(ResNet(18, base_channels=8, strides=(2, 2, 2, 2)))
    theirs.eval()
    ours = build(norm_cfg=dict(type='BN')).eval()
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    state['conv1.weight'] = torch.randn(8, 3, 3, 3)
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64)
    expected = torch.conv2d(x, state['conv1.weight'], stride=2, padding=1)
    expected = theirs.norm1(expected).relu()
    for i, out in enumerate(ours(x)):
        expected = getattr(theirs, f'layer{i + 1}')(expected)
        assert torch.equal(out, expected)


@pytest.mark.parametrize('norm_cfg', NORMS, ids=lambda n: '-'.join(map(str, n.values())))
def test_any_norm_trains_a_step(norm_cfg):
    torch.manual_seed(0)
    model = build(norm_cfg=norm_cfg, base_channels=16)
    model.init_weights()
    outs = model.train()(torch.randn(2, 3, 64, 64))
    sum(o.square().mean() for o in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_operator_and_plain_autograd_agree(monkeypatch):
    """The shortcut is added to the norm's output in place, which its backward must survive."""
    torch.manual_seed(0)
    model, x = build(), torch.randn(2, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, DNB):
            nn.init.normal_(module.sc.fc2_weight)
    gradients = []
    for path in ('aten', 'reference'):
        monkeypatch.setenv('DN_MMDET_OPS', path)
        model.zero_grad()
        model(x)[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip_strict(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item() + 1e-12)


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('fold', [True, 'recompute'])
def test_the_relus_behind_norms_are_folded(fold, with_cp):
    """Those of the stem and in the middle of each block."""
    results = []
    for fold_activation in (False, fold):
        torch.manual_seed(0)
        model = build(fold_activation=fold_activation, with_cp=with_cp)
        for module in model.modules():
            if isinstance(module, DNB):
                nn.init.normal_(module.sc.fc2_weight, std=0.1)
        folded = [n for n, m in model.named_modules() if isinstance(m, DNB) and m.activation]
        x = torch.randn(2, 3, 64, 64, requires_grad=True)
        outs = model(x)
        sum(out.square().sum() for out in outs).backward()
        results.append([*outs, x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
    assert folded == ['bn1', *(f'layer{i}.{j}.bn1' for i in (1, 2, 3, 4) for j in (0, 1))]
    for plain, other in zip_strict(*results):
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())


def test_with_cp_changes_no_gradient():
    torch.manual_seed(0)
    plain, saving = build(), build(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model(x)[-1].square().sum().backward()
    for p, q in zip_strict(plain.parameters(), saving.parameters()):
        torch.testing.assert_close(p.grad, q.grad)


def statistics(module):
    return [m.running_mean.clone() for m in module.modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), DNB_OUP], ids=['BN', 'DNB'])
@pytest.mark.parametrize('frozen_stages', [0, 2])
def test_frozen_stages_stand_still_the_stem_too(norm_cfg, frozen_stages):
    model = build(frozen_stages=frozen_stages, norm_cfg=norm_cfg)
    assert model.train() is model
    names = ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4']
    parts = [getattr(model, name) for name in names]
    before = [statistics(part) for part in parts]
    model(torch.randn(2, 3, 64, 64) + 1)[-1].square().mean().backward()
    for i, (part, old) in enumerate(zip_strict(parts, before)):
        frozen = i < 2 + frozen_stages
        assert all(torch.equal(a, b) == frozen for a, b in zip_strict(old, statistics(part)))
        assert all((p.grad is None) == frozen == (not p.requires_grad) for p in part.parameters())


@pytest.mark.parametrize('out_indices', [(0,), (1, 2), (3,)], ids=str)
def test_what_lies_behind_the_last_output_is_neither_run_nor_trained(out_indices):
    torch.manual_seed(0)
    whole, model = build(), build(out_indices=out_indices)
    assert list(model.state_dict()) == list(whole.state_dict())
    model.load_state_dict(whole.state_dict())
    behind = [getattr(model, f'layer{i + 1}') for i in range(max(out_indices) + 1, 4)]
    for stage in behind:
        stage.register_forward_hook(lambda *_: pytest.fail('a stage behind the last was run'))
    x = torch.randn(2, 3, 64, 64)
    outs, expected = model.train()(x), whole.train()(x)
    for i, out in zip_strict(out_indices, outs):
        assert torch.equal(out, expected[i])
    sum(out.square().mean() for out in outs).backward()
    # Every parameter that is to be trained has a part in the outputs, as DDP demands it.
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    still = {n.partition('.')[0] for n, p in model.named_parameters() if not p.requires_grad}
    assert still == {f'layer{i + 1}' for i in range(max(out_indices) + 1, 4)}


def test_norm_eval_stops_all_statistics_and_trains_on():
    model = build(norm_eval=True).train()
    before = statistics(model)
    model(torch.randn(2, 3, 64, 64) + 1)[-1].square().mean().backward()
    assert all(torch.equal(a, b) for a, b in zip_strict(before, statistics(model)))
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    'norm_cfg', [DNB_OUP, dict(type='DNC'), dict(type='SEBN')], ids=lambda n: n['type']
)
def test_initialisation_reaches_convolutions_alone(norm_cfg):
    model = build(norm_cfg=norm_cfg)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    model.init_weights()
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {
        n
        for n, m in ((f'{n}.weight', m) for n, m in model.named_modules())
        if isinstance(m, nn.Conv2d)
    }


@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), dict(type='SEBN')], ids=lambda n: n['type'])
def test_zero_init_residual_makes_blocks_begin_as_their_shortcut(norm_cfg):
    model = build(norm_cfg=norm_cfg, zero_init_residual=True)
    model.init_weights()
    block, x = model.layer1[1].eval(), torch.rand(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    plain = build(norm_cfg=norm_cfg)
    plain.init_weights()
    assert not torch.equal(plain.layer1[1].eval()(x), x)


@pytest.mark.parametrize('type_', ['DNB', 'DNC'])
def test_zero_init_residual_needs_a_trained_gamma(type_):
    with pytest.raises(ValueError, match=f"zero_init_residual .* '{type_}', which has no trained"):
        build(norm_cfg=dict(type=type_), zero_init_residual=True)


def test_a_bn_checkpoint_loads_into_dnb():
    torch.manual_seed(0)
    source = randomize(build(norm_cfg=dict(type='BN', eps=1e-3))).eval()
    model = build().eval()
    state = source.state_dict()
    # What allow_bn_checkpoint lets pass: another norm, in every layer, and nothing else amiss.
    assert norm_mismatch(model, state) == ('BN', 'DNB', 1 + 2 * 8 + 4)
    match = match_state(model, state)
    assert (match.missing, match.unexpected, match.reshaped) == ([], [], [])
    x = torch.randn(2, 3, 64, 64)
    for a, b in zip_strict(model(x), source(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_in_the_classifier_and_then_in_a_detector(tmp_path):
    torch.manual_seed(0)
    backbone = dict(type='ResNetDN', depth=18, base_channels=8, norm_cfg=DNB_OUP)
    classifier = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(**backbone, out_indices=(3,)),
            num_classes=5,
            in_channels=64,
        )
    )
    sample = BaseDataElement()
    sample.gt_label = 2
    images = torch.randn(2, 3, 64, 64)
    classifier(images, [sample, sample], mode='loss')['loss'].backward()
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'classifier.pth')

    detector = MODELS.build(
        dict(
            type='mmdet.RetinaNet',
            backbone=dict(
                **backbone,
                init_cfg=dict(
                    type='Pretrained',
                    checkpoint=str(tmp_path / 'classifier.pth'),
                    prefix='backbone.',
                ),
            ),
            neck=dict(
                type='mmdet.FPN',
                in_channels=[8, 16, 32, 64],
                out_channels=16,
                start_level=1,
                add_extra_convs='on_input',
                num_outs=4,
            ),
            bbox_head=dict(
                type='mmdet.RetinaHead',
                num_classes=3,
                in_channels=16,
                feat_channels=16,
                stacked_convs=1,
                anchor_generator=dict(
                    type='mmdet.AnchorGenerator',
                    ratios=[1.0],
                    octave_base_scale=4,
                    scales_per_octave=1,
                    strides=[8, 16, 32, 64],
                ),
                bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
            ),
            train_cfg=dict(
                assigner=dict(
                    type='mmdet.MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0
                ),
                sampler=dict(type='mmdet.PseudoSampler'),
                allowed_border=-1,
                pos_weight=-1,
            ),
        )
    )
    detector.init_weights()
    state = classifier.backbone.state_dict()
    assert list(detector.backbone.state_dict()) == list(state)
    assert all(torch.equal(v, state[n]) for n, v in detector.backbone.state_dict().items())

    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 44.0]]), labels=torch.tensor([1])
    )
    losses, _ = detector.parse_losses(detector(images, [sample, sample], mode='loss'))
    losses.backward()
    assert losses.isfinite()
    # The gradient comes down to the stem, through the norms of all stages.
    assert detector.backbone.conv1.weight.grad.any()
    assert detector.backbone.bn1.sc.fc2_weight.grad.any()


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(depth=50), r'depth must be one of \(18, 34\), but got 50'),
        (dict(num_stages=5), 'num_stages must be 1 to 4, but got 5'),
        (dict(strides=(2, 2)), r'strides must be 4 numbers, each 1 or more, .* got \(2, 2\)'),
        (dict(dilations=(1, 1, 1, 0)), 'dilations must be 4 numbers, each 1 or more'),
        (dict(out_indices=(4,)), r'out_indices must be stages of 0 to 3, but got \(4,\)'),
        (dict(out_indices=()), 'out_indices must be stages'),
        (dict(out_indices=(1, 1)), r'out_indices must name each stage once, but got \(1, 1\)'),
        (dict(out_indices=2), 'out_indices must be stages of 0 to 3, but got 2'),
        (dict(frozen_stages=5), 'frozen_stages must be -1 to 4, but got 5'),
        (dict(frozen_stages=None), 'frozen_stages must be -1 to 4, but got None'),
        (dict(in_channels=0), 'in_channels must be 1 or more, but got 0'),
        (dict(fold_activation='all'), "fold_activation must be True, False or 'recompute', but"),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ValueError, match=words):
        ResNetDN(**dict(depth=18) | kwargs)
