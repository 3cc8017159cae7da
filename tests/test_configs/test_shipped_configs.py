"""Every shipped configuration is built and run; pairs of BN and DN-B differ where they should."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData

import dn_mmdet  # noqa: F401
from dn_mmdet.layers import DNB

register_all_modules()

ROOT = Path(__file__).resolve().parents[2] / 'configs'
# The rows of the classification tables have their own test: test_imagenet100_configs.py.
CONFIGS = sorted(p for p in ROOT.rglob('*.py') if not {'_base_', 'imagenet100'} & set(p.parts))
DETECTORS = [p for p in CONFIGS if 'ssdlite' in p.name]
PAIRS = [(p, p.with_name(p.name.replace('_bn_', '_dnb_'))) for p in CONFIGS if '_bn_' in p.name]


def ids(value):
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


def load(path, pretrained=False):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    if not pretrained:
        config.model.backbone.pop('init_cfg', None)
    return config


def batch_of(config, size, count=2):
    """Random images with one object each, as the config's loader would collate them."""
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(count)]
    samples = []
    for _ in range(count):
        if config.model.type == 'ImageClassifier':
            sample = BaseDataElement()
            sample.gt_label = 1
        else:
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0)
                )
            )
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[0.1, 0.1, 0.6, 0.7]]) * size, labels=torch.tensor([1])
            )
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def image_side(config):
    return config.input_size[0] if 'input_size' in config else 80


def test_there_are_configs():
    assert {p.name for p in CONFIGS} >= {'ssdlite_mbv2_bn_coco.py', 'ssdlite_mbv2_dnb_coco.py'}


@pytest.mark.parametrize('path', CONFIGS, ids=ids)
def test_one_training_step_and_one_prediction(path):
    torch.manual_seed(0)
    config = load(path)
    model = MODELS.build(config.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = model.train_step(batch_of(config, image_side(config)), wrapper)
    assert losses['loss'].isfinite() and losses['loss'] > 0
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    # With W2 = 0 no gradient reaches W1 in the first step; everything else moves.
    still = {n for n in before if n not in moved and '.sc.fc1_' not in n}
    assert not {n for n in still if not n.endswith('.bias')}

    model.eval()
    results = model.test_step(batch_of(config, image_side(config)))
    if config.model.type == 'ImageClassifier':
        assert results[0].pred_score.shape == (config.model.num_classes,)
    else:
        labels = results[0].pred_instances.labels
        assert len(labels) == 0 or labels.max() < config.model.bbox_head.num_classes


def flat(value, prefix=''):
    if isinstance(value, dict):
        inner = (flat(item, f'{prefix}.{key}') for key, item in value.items())
        return {key: item for part in inner for key, item in part.items()}
    return {prefix: repr(value)}


@pytest.mark.parametrize('bn, dnb', PAIRS, ids=ids)
def test_bn_and_dnb_differ_in_norm_and_checkpoint_alone(bn, dnb):
    a, b = (flat(Config.fromfile(p).to_dict()) for p in (bn, dnb))
    different = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
    assert different, 'the two configurations are the same'
    allowed = ('.model.backbone.norm_cfg.', '.model.backbone.init_cfg.checkpoint')
    assert {k for k in different if not k.startswith(allowed)} == set()
    assert a['.model.backbone.norm_cfg.type'] == "'BN'"
    assert b['.model.backbone.norm_cfg.type'] == "'DNB'"


@pytest.mark.parametrize(
    'name, norms',
    [
        ('ssdlite_mbv2_bn_coco.py', 0),
        ('ssdlite_mbv2_dnb_coco.py', 52),
        ('ssdlite_mbv2_dnb_paper_coco.py', 52),
        ('ssdlite_mbv2_bn_in1k_coco.py', 0),
        ('ssdlite_mbv2_dnb_in1k_coco.py', 52),
    ],
)
def test_dnb_stands_in_every_norm_of_the_backbone_and_nowhere_else(name, norms):
    """Size and cost are in tests/test_analysis/test_paper_table.py."""
    model = MODELS.build(load(ROOT / name).model)
    layers = [m for m in model.backbone.modules() if isinstance(m, DNB)]
    assert len(layers) == norms
    # The paper's rows are of the paper's form, all else of the layer's default.
    papers = 'raw' if '_paper_' in name else 'normalized'
    assert {layer.sc_input for layer in layers} <= {papers}
    assert sum(isinstance(m, DNB) for m in model.modules()) == norms


@pytest.mark.parametrize('path', DETECTORS, ids=ids)
def test_init_cfg_of_ssdlite_leaves_the_sc_weights_alone(path):
    config = load(path)
    # What the paper's recipe asks of the neck and the head, put on the whole detector.
    config.model.init_cfg = [
        dict(type='TruncNormal', layer='Conv2d', std=0.03),
        dict(type='Constant', val=3, layer=['_BatchNorm', 'Linear']),
    ]
    config.model.backbone.norm_cfg = dict(type='DNB', r=16, g='oup')
    model = MODELS.build(config.model)
    before = {
        n: v.clone()
        for n, v in model.backbone.state_dict().items()
        if '.sc.' in n or '_offset' in n
    }
    assert len(before) == 52 * 5
    model.init_weights()
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_recipe_is_the_papers():
    config = Config.fromfile(ROOT / 'ssdlite_mbv2_dnb_coco.py')
    assert config.train_cfg.max_epochs == 30
    assert config.optim_wrapper.optimizer.lr == 0.05
    assert config.param_scheduler[1].milestones == [18, 25, 28]
    assert config.train_dataloader.batch_size == 64
    assert config.auto_scale_lr.base_batch_size == 128
    assert config.test_dataloader.dataset.data_prefix.img == 'val2017/'


@pytest.mark.parametrize('norm', ['bn', 'dnb'])
def test_imagenet_1k_changes_the_start_and_its_eps_alone(norm):
    """That its names load, tests/test_engine/test_preflight/test_foreign_names.py tries."""
    a, b = (
        flat(Config.fromfile(ROOT / f'ssdlite_mbv2_{norm}{start}_coco.py').to_dict())
        for start in ('', '_in1k')
    )
    assert {key: b[key] for key in b if a.get(key) != b[key]} == {
        '.model.backbone.norm_cfg.eps': '1e-05',
        '.model.backbone.init_cfg.checkpoint': repr(
            'https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/'
            'mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'
        ),
        '.allow_bn_checkpoint': 'True',
    }
    assert set(a) <= set(b)


@pytest.mark.parametrize('path', CONFIGS, ids=ids)
def test_every_run_is_monitored_by_the_hooks_of_this_package(path):
    """What mmdet's CheckInvalidLossHook sees every 50th iteration, ours sees in each.

    What its NumClassCheckHook sees in the first epoch, the preflight tells before the run:
    tests/test_engine/test_preflight/test_bad_input.py, 'number of classes'.
    """
    config = Config.fromfile(path)
    assert config.default_hooks.invalid_loss.type == 'InvalidLossHook'
    assert config.default_hooks.resume_lr.type == 'ResumeLRHook'
    assert config.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert 'custom_hooks' not in config


def test_sc_weights_decay_whatever_norms_and_biases_do():
    config = load(ROOT / 'digits' / 'ssdlite_mbv2_dnb_digits.py')
    model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(
        model, config.optim_wrapper | dict(paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0))
    )
    decay = {
        id(p): group['weight_decay'] for group in wrapper.param_groups for p in group['params']
    }
    sc = [decay[id(p)] for n, p in model.named_parameters() if '.sc.' in n]
    assert sc == [4e-5] * (52 * 3)
    assert decay[id(model.neck.extra_layers[0][0].bn.weight)] == 0
