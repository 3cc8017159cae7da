"""What is counted of a module, and what the tool says of a configuration."""

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dn_mmdet  # noqa: F401
from dn_mmdet.analysis import config_complexity, count_complexity, print_config_complexity
from dn_mmdet.analysis.config_complexity import find_input_shape
from dn_mmdet.layers import DNB, DNC, DNGN, SEBN
from dn_mmdet.ops.dispatch import use_path
from dn_mmdet.paths import configs_root
from dn_mmdet.utils.errors import UserError
from tests.helpers.library import NEEDS_LIBRARY

SMALL = "dict(type='ResNetDN', depth=18, base_channels=8, out_indices=(3, ))"


@pytest.fixture
def write(tmp_path):
    """Write a configuration into a folder of its own and return its path."""

    def write(text, name='config.py'):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def classifier(more=''):
    return (
        f"model = dict(type='ImageClassifier', backbone={SMALL}, num_classes=5, "
        f'in_channels=64)\n{more}'
    )


def test_norms_and_pooling_are_free_and_convolutions_and_layers_are_counted():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.Upsample(scale_factor=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).train()
    model[1].eval()
    found = count_complexity(model, (6, 8))
    assert found.mult_adds == 6 * 8 * 4 * 3 * 9 + 4 * 5
    assert found.params == 4 * 27 + 4 + 8 + 25
    assert found.modules['0'] == (4 * 28, 6 * 8 * 4 * 27)
    assert found.modules['6'] == (25, 20)
    assert found.uncounted == ()
    assert model.training and not model[1].training
    # Buffers are not trained, and not counted.
    model.register_buffer('extra', torch.zeros(7))
    assert count_complexity(model, (6, 8)).params == found.params


def sc(layer, first=1, second=1):
    return first * layer.sc.fc1_weight.numel() + second * layer.sc.fc2_weight.numel()


@pytest.mark.parametrize('path', ['aten', 'reference'])
@pytest.mark.parametrize(
    'layer, expected',
    [
        (DNB(96, r=4), sc),
        (DNB(96, g=4, sc_input='normalized'), sc),
        (DNB(96, g='oup', detach_gap=True), sc),
        (DNB(96, r=4, g='oup', parameterization='conditioned', gain='bn'), sc),
        (DNC(96, fuse='fc1'), lambda layer: sc(layer, first=2)),
        (DNC(96, fuse='fc2'), lambda layer: sc(layer, first=2, second=2)),
        (DNGN(96, g='oup', sc_input='normalized'), sc),
        (SEBN(96), lambda layer: layer.fc1_weight.numel() + layer.fc2_weight.numel()),
    ],
    ids=['DNB', 'DNB-4', 'DNB-oup', 'DNB-conditioned', 'DNC-fc1', 'DNC-fc2', 'DNGN', 'SEBN'],
)
def test_both_layers_of_the_sc_module_are_counted_whatever_operator_runs(layer, expected, path):
    with use_path(path):
        found = count_complexity(nn.Sequential(nn.Conv2d(3, 96, 1), layer), (5, 7))
    assert found.mult_adds == 5 * 7 * 3 * 96 + expected(layer)
    assert found.uncounted == ()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        queries, keys = x.flatten(2), x.flatten(2)[:, :, :5]
        values = keys[:, :2, :].transpose(1, 2)
        out = nn.functional.scaled_dot_product_attention(
            queries.transpose(1, 2), keys.transpose(1, 2), values
        )
        return torch.baddbmm(out, queries.transpose(1, 2), keys[:, :, :2])


def test_products_that_mmengine_does_not_know():
    # 12 queries of 3 numbers, 5 keys of 3, 5 values of 2; then (12, 3) by (3, 2).
    assert count_complexity(Attention(), (3, 4)).mult_adds == 12 * 5 * (3 + 2) + 12 * 3 * 2


class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return nn.functional.conv2d(x, weight)


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3, 1, 1))

    def forward(self, x):
        return Hidden.apply(x, self.weight)


def test_what_a_trace_does_not_look_into_is_named():
    assert count_complexity(Custom(), (4, 4)).uncounted == ('Hidden',)


def test_checkpointed_blocks_are_counted():
    """In a block run by torch.utils.checkpoint no operator would be seen."""
    plain, saving = (
        MODELS.build(dict(type='ResNetDN', depth=18, base_channels=8, with_cp=cp))
        for cp in (False, True)
    )
    assert count_complexity(plain, (32, 32)) == count_complexity(saving, (32, 32))


FASTER_RCNN = """
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(depth=18, base_channels=8, init_cfg=dict(checkpoint='nowhere.pth')),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=8),
    rpn_head=dict(in_channels=8, feat_channels=8),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=8),
        bbox_head=dict(in_channels=8, fc_out_channels=8, num_classes=3)),
    test_cfg=dict(rpn=dict(max_per_img=20)))
"""


def test_a_plain_two_stage_detector_of_mmdet(write, monkeypatch, tmp_path, capsys):
    """No data set and no checkpoint is there; the shape is padded as the model pads it."""
    monkeypatch.chdir(tmp_path)
    path = write(FASTER_RCNN)
    found = config_complexity(path, (60, 90))
    assert (found.model, found.shape) == ('FasterRCNN', (64, 96))
    counts = found.complexity
    # 20 proposals, each through two shared layers, 4 class scores and 3 boxes.
    assert counts.modules['roi_head'][1] == 20 * (8 * 7 * 7 * 8 + 8 * 8 + 8 * (4 + 3 * 4))
    assert (
        sum(counts.modules[part][1] for part in ('backbone', 'neck', 'rpn_head', 'roi_head'))
        == counts.mult_adds
    )
    assert set(counts.uncounted) == {'NMSop', 'RoIAlignFunction'}
    assert config_complexity(path, (60, 90)) == found
    print_config_complexity(path, (60, 90))
    out = capsys.readouterr().out
    assert 'FasterRCNN, input 3x64x96' in out
    assert f'| model      | {counts.params / 1e6:.3f}M     | ' in out
    assert 'Not counted: NMSop, RoIAlignFunction.' in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ['config.py']


def test_a_shipped_detector_with_a_missing_pretrained_backbone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = configs_root() / 'digits/ssdlite_mbv2_bn_digits.py'
    assert Config.fromfile(config).model.backbone.init_cfg.type == 'Pretrained'
    assert config_complexity(config).shape == (160, 160)


def test_options_override_the_configuration(write):
    path = write(classifier())
    options = {'model.num_classes': 7}
    before, after = (config_complexity(path, (32, 32), o).complexity for o in (None, options))
    assert after.params - before.params == 2 * 65
    assert after.mult_adds - before.mult_adds == 2 * 64


def test_an_image_of_one_channel(capsys):
    name = str(configs_root() / 'ssdlite_mbv2_dnb_coco.py')
    options = {'model.backbone.in_channels': 1}
    print_config_complexity(name, (64, 64), 2, options)
    assert 'SingleStageDetector, input 1x64x64' in capsys.readouterr().out
    # 9 weights for each of 32 channels, and not 27.
    found = config_complexity(name, (64, 64), options).complexity
    assert found.modules['backbone.conv1.conv'] == (288, 288 * 32 * 32)


@NEEDS_LIBRARY
def test_what_other_counters_make_of_the_sc_module():
    """What docs/layers.md says of those that are here."""
    model = nn.Sequential(nn.Conv2d(3, 64, 3), DNB(64, r=4)).eval()
    x, conv = torch.zeros(1, 3, 16, 16), 27 * 64 * 14 * 14
    first, second = 64 * 16, 2 * 64
    assert count_complexity(model, (16, 16)).mult_adds == conv + first + second
    counts = {}
    for path in ('cpp', 'reference'):
        with use_path(path), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x)
        counts[path] = counter.get_total_flops() // 2
    assert counts == {'cpp': conv, 'reference': conv + first}
    found = get_model_complexity_info(model, (3, 16, 16), show_table=False, show_arch=False)
    assert found['flops'] == conv + first + second + 64 * 14 * 14


def test_per_module_goes_as_deep_as_asked(write, capsys):
    path = write(classifier())

    def modules(depth):
        print_config_complexity(path, (32, 32), depth)
        return [
            line.split('|')[1].strip()
            for line in capsys.readouterr().out.splitlines()
            if line.startswith('|')
        ][2:]

    assert modules(0) == ['model']
    assert modules(1) == ['model', 'backbone', 'fc']
    assert set(modules(2)) > {'backbone.conv1', 'backbone.layer1'}
    assert 'backbone.layer1.0' in modules(3)


@pytest.mark.parametrize(
    'text, expected',
    [
        ("test_pipeline = [dict(type='Resize', scale=(640, 480))]", (480, 640)),
        ("test_pipeline = [dict(type='Resize', scale=(800, 1333), keep_ratio=True)]", (800, 1333)),
        (
            "test_pipeline = [dict(type='Resize', scale=(256, 1000000), keep_ratio=True),"
            "dict(type='CenterCrop', crop_size=224)]",
            (224, 224),
        ),
        (
            "test_pipeline = [dict(type='Resize', scale=(90, 60), keep_ratio=True),"
            "dict(type='Pad', pad_to_square=True), dict(type='PackDetInputs')]",
            (90, 90),
        ),
        ("test_pipeline = [dict(type='FixShapeResize', width=90, height=60)]", (60, 90)),
        (
            "test_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(pipeline=["
            "dict(type='Resize', scale=48)])))\ninput_size = 32",
            (48, 48),
        ),
        ('input_size = (96, 64)', (64, 96)),
        ('', (224, 224)),
        ("model = dict(type='RetinaNet')", None),
    ],
)
def test_the_shape_of_a_configuration(write, text, expected):
    assert find_input_shape(Config.fromfile(write(classifier(text)))) == expected


@pytest.mark.parametrize(
    'text, shape, words',
    [
        ('x = 1', None, r'config\.py defines no model'),
        (
            f"model = dict(type='TwoStageDetector', backbone={SMALL})",
            None,
            r'config\.py gives no input size.* --shape H W',
        ),
        (classifier(), (0, 32), '--shape must be a height and a width of 1 .*, but got 0 32'),
        (classifier(), (3, 4, 5), '--shape must be .* got 3 4 5'),
        (
            classifier("model['in_channels'] = 4"),
            (32, 32),
            r'config\.py: ImageClassifier cannot run on one image of 32x32 '
            r'\(RuntimeError: .*--shape',
        ),
        (
            classifier("model['backbone']['depth'] = 50"),
            None,
            r'config\.py: the model cannot be built: .*depth must be one of \(18, 34\), but got 50',
        ),
        (classifier("model['type'] = 'ImageClasifier'"), None, "did you mean 'ImageClassifier'"),
        (
            classifier("model['backbone'] = dict(type='mmdet.ResNet', depth=19)"),
            None,
            r'config\.py: the model cannot be built: invalid depth 19',
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(write, text, shape, words):
    with pytest.raises(UserError, match=words) as caught:
        config_complexity(write(text), shape)
    assert '\n' not in str(caught.value)


def test_the_tool(write, run_tool, capsys):
    """One number is a square, a switch without a number lists three names deep."""
    assert run_tool(write(classifier()), '--shape', '32', '--per-module') == 0
    out = capsys.readouterr().out
    assert 'ImageClassifier, input 3x32x32' in out
    assert 'backbone.layer1.0 ' in out and 'backbone.layer1.0.conv1' not in out


@pytest.mark.parametrize(
    'arguments, line',
    [
        (('nowhere.py',), 'error: there is no configuration file nowhere.py'),
        (('CONFIG', '--shape', '-4', '8'), 'error: --shape must be a height and a width'),
        (('CONFIG', '--per-module', '-1'), 'error: --per-module must be 0 or more, but got -1'),
    ],
)
def test_mistakes_end_the_tool_with_a_line(write, run_tool, capsys, arguments, line):
    path = write(classifier())
    assert run_tool(*(path if text == 'CONFIG' else text for text in arguments)) == 1
    err = capsys.readouterr().err
    assert err.startswith(line) and len(err.splitlines()) == 1
