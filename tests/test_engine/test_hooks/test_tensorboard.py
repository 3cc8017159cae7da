"""TensorBoard through mmengine's visualizer, as the command line switches it on."""

import argparse
import re
import sys

import pytest
from mmengine.registry import VISUALIZERS, DefaultScope

from dn_mmdet.engine import AffineHook, CfgOptions, load_config
from tests.helpers.normed_map import run
from tests.helpers.tiny import REPOSITORY

SWITCH = (
    "visualizer.vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]"
)


def options(*texts):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


@pytest.fixture(scope='module')
def events(tmp_path_factory):
    """What TensorBoard reads of a run of eight iterations, and the tags of its own log."""
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator',
        reason='tensorboard is not installed: pip install tensorboard',
    )
    work_dir = tmp_path_factory.mktemp('board')
    backends = options(SWITCH)['visualizer.vis_backends']
    run(
        work_dir,
        'tensorboard',
        AffineHook(interval=2),
        visualizer=dict(type='Visualizer', vis_backends=backends),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
    ).train()
    (folder,) = work_dir.glob('*/vis_data')
    assert (folder / 'scalars.json').is_file()  # the log that runs are compared by
    found = event_accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_the_loss_is_a_curve(events):
    loss = events.Scalars('loss')
    assert [point.step for point in loss] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert loss[-1].value < loss[0].value


def test_every_norm_layer_has_a_line_in_the_group_of_its_quantity(events):
    tags = {tag for tag in events.Tags()['scalars'] if tag.startswith('affine')}
    both = {
        f'affine_{name}/{layer}'
        for layer in ('norm', 'other')
        for name in ('alpha_mean', 'alpha_spread', 'lambda_mean', 'lambda_spread')
    }
    assert tags == both | {'affine_dead_units/norm', 'affine_saturated_units/norm'}
    for tag in tags:
        assert [point.step for point in events.Scalars(tag)] == [2, 4, 6, 8]


def test_the_lines_of_all_layers_are_in_one_chart(events):
    from tensorboard.plugins.custom_scalar import layout_pb2

    (tensor,) = events.Tensors('custom_scalars__config__')
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    (category,) = layout.category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert charts['alpha_mean'] == ['affine_alpha_mean/.*'] and len(charts) == 6


@pytest.mark.parametrize(
    ('config', 'kind'),
    [
        ('ssdlite_mbv2_dnb_coco.py', 'DetLocalVisualizer'),
        ('digits/ssdlite_mbv2_bn_digits.py', 'DetLocalVisualizer'),
        ('digits/mbv2_dnb_digits.py', 'Visualizer'),
        ('imagenet100/resnet18_bn.py', 'Visualizer'),
    ],
)
def test_one_option_switches_it_on(config, kind, tmp_path):
    cfg = load_config(
        f'{REPOSITORY}/configs/{config}', options(SWITCH, 'default_hooks.affine.type=AffineHook')
    )
    assert cfg.default_hooks.affine == dict(type='AffineHook') and 'logger' in cfg.default_hooks
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        visualizer = VISUALIZERS.build(
            {**cfg.visualizer, 'save_dir': str(tmp_path), 'name': f'board_{config}'}
        )
    assert type(visualizer).__name__ == kind
    assert visualizer.get_backend('TensorboardVisBackend') and visualizer.get_backend(
        'LocalVisBackend'
    )


@pytest.mark.parametrize(
    ('backend', 'sentence'),
    [
        ('TensorboardVisBackend', 'needs the package tensorboard, .*run "pip install tensorboard"'),
        (
            'TensorBoardVisBackend',
            "vis_backends.1.type is 'TensorBoardVisBackend', which is not registered "
            "anywhere; did you mean 'TensorboardVisBackend'",
        ),
    ],
)
def test_what_is_absent_is_told_before_the_run(backend, sentence, place, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    line = refused(
        'train.py',
        'tiny.py',
        '--cfg-options',
        SWITCH.replace('TensorboardVisBackend', backend),
        folder=place,
    )
    assert re.search(sentence, line), line


def test_a_dict_on_the_command_line(capsys):
    assert options("a.b=dict(type='DNB', r=8, c=[1, (2.5, None)])", 'd=[1,2]') == {
        'a.b': dict(type='DNB', r=8, c=[1, [2.5, None]]),
        'd': [1, 2],
    }
    assert options("a={'.sc.': {'lr_mult': 4.0}}") == {'a': {'.sc.': {'lr_mult': 4.0}}}
    assert options("a=dict({'.sc.': dict(b=1)}, c=2)") == {'a': {'.sc.': {'b': 1}, 'c': 2}}
    for wrong in ('a=[dict(type=DNB)]', 'a=dict(3)', "a=[dict(type='DNB')", "a=dict(b=open('x'))"):
        with pytest.raises(SystemExit):
            options(wrong)
        assert 'cannot be read: write it as a configuration does' in capsys.readouterr().err
