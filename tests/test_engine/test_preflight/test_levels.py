"""Backbone, neck and head that do not fit each other are told before the run."""

import pytest
import torch
from mmengine.config import Config

from dn_mmdet.engine.preflight.levels import check_levels
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.utils.errors import UserError

ANCHORS = dict(
    type='AnchorGenerator',
    ratios=[1.0],
    octave_base_scale=4,
    scales_per_octave=1,
    strides=[8, 16, 32, 64],
)
FPN = dict(
    type='FPN', in_channels=[32, 64, 160], out_channels=8, num_outs=4, add_extra_convs='on_input'
)
HEAD = dict(
    type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8, anchor_generator=ANCHORS
)
RETINA = dict(
    type='RetinaNet',
    backbone=dict(type='MobileNetV2DN', out_indices=(2, 3, 5), norm_cfg=dict(type='DNB')),
    neck=FPN,
    bbox_head=HEAD,
)
SSD = dict(
    type='SingleStageDetector',
    backbone=dict(type='MobileNetV2DN', out_indices=(4, 7)),
    neck=dict(
        type='SSDNeck',
        in_channels=(96, 1280),
        out_channels=(96, 1280, 64),
        level_strides=(2,),
        level_paddings=(1,),
        l2_norm_scale=None,
    ),
    bbox_head=dict(
        type='SSDHead',
        num_classes=2,
        in_channels=(96, 1280, 64),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16, 32, 64],
            ratios=[[2], [2], [2]],
            min_sizes=[16, 32, 64],
            max_sizes=[32, 64, 128],
        ),
    ),
)

TWO_LEVELS = {
    key: value[:2] if isinstance(value, list) else value
    for key, value in SSD['bbox_head']['anchor_generator'].items()
}


def planned(base, options):
    cfg = Config(dict(model=base, default_scope='mmdet'))
    cfg.merge_from_dict(options)
    return PlannedRun(cfg, 'train')


@pytest.mark.parametrize(
    'base, options, words',
    [
        (
            RETINA,
            {'neck.in_channels': [24, 32]},
            'levels of 32, 64, 160 channels: its in_channels are .24, 32',
        ),
        (RETINA, {'neck.in_channels': [32, 64, 95]}, 'lateral_convs.2.conv takes 95'),
        (RETINA, {'backbone.out_indices': (2, 3)}, 'model.neck .*2 levels of 32, 64 channels'),
        (
            RETINA,
            {'bbox_head.in_channels': 9},
            'model.bbox_head .* model.neck.*4 levels of 8, 8.*takes 9',
        ),
        (RETINA, {'neck.num_outs': 3}, 'given 3 levels .* has anchors for 4'),
        (
            RETINA,
            {'bbox_head.anchor_generator.strides': [8, 16, 32]},
            'given 4 levels .* has anchors for 3',
        ),
        (SSD, {'bbox_head.in_channels': (96, 1280)}, 'predicts for 2, and has anchors for 3'),
        (SSD, {'bbox_head.in_channels': (96, 1280, 65)}, 'model.bbox_head .*takes 65'),
        (
            SSD,
            {'bbox_head.anchor_generator': {**TWO_LEVELS, '_delete_': True}},
            'given 3 levels .* has anchors for 2',
        ),
    ],
)
def test_parts_that_do_not_fit(base, options, words):
    run = planned(base, {f'model.{key}': value for key, value in options.items()})
    with config_scope(run.cfg), pytest.raises(UserError, match=words):
        check_levels(run)


@pytest.mark.parametrize('base', [RETINA, SSD])
def test_parts_that_fit_stay_as_they_are(base):
    run = planned(base, {})
    with config_scope(run.cfg):
        before = {key: value.clone() for key, value in run.model.state_dict().items()}
        random = torch.random.get_rng_state()
        check_levels(run)
    assert torch.equal(random, torch.random.get_rng_state())
    assert run.model.training
    for key, value in run.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_what_cannot_be_known_is_left_alone():
    """An error of a part's own is the run's, and a model of another kind is not looked at."""
    run = planned(RETINA, {})
    with config_scope(run.cfg):

        def broken(x):
            raise RuntimeError('of its own')

        run.model.neck.forward = broken
        check_levels(run)
        run = planned(dict(type='DNB', num_features=4), {})
        check_levels(run)


def test_a_way_of_its_own_is_left_alone():
    """A detector that sends its maps another way, and a head without anchors."""
    run = planned(RETINA, {'model.neck.in_channels': [24, 32]})
    with config_scope(run.cfg):
        run.model.__class__ = type('Own', (type(run.model),), {'extract_feat': lambda self, x: x})
        check_levels(run)
        run = planned(RETINA, {})
        run.model.bbox_head.prior_generator = None
        check_levels(run)
