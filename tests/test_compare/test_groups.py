import random
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import MappingProxyType

import pytest

from dn_mmdet.compare import compare_folders, comparison
from dn_mmdet.compare.images.predictions import Predictions
from dn_mmdet.compare.report.blocks import report_title
from dn_mmdet.runs.config import differences, effective, is_expected, parse_config
from dn_mmdet.runs.run import NormLabel
from dn_mmdet.utils.errors import UserError
from tests.helpers.work_folders import BN, DNB


def test_differences_are_dotted_and_types_are_compared_whole():
    first = parse_config(
        "model = dict(norm_cfg=dict(type='BN', eps=1e-3), widths=[1, 2])\n"
        "param_scheduler = [dict(type='A', end=3), dict(type='B')]\n"
        'unused = 1\nrandomness = dict(seed=0)\nwork_dir = "a"\n'
    )
    second = parse_config(
        "model = dict(norm_cfg=dict(type='DNB', r=16), widths=[1, 3], deep=1)\n"
        "param_scheduler = [dict(type='A', end=4), dict(type='B')]\n"
        'unused = 2\nrandomness = dict(seed=5)\nwork_dir = "b"\n'
    )
    found = differences(effective(first), effective(second))
    assert [difference.key for difference in found] == [
        'model.deep',
        'model.norm_cfg',
        'model.widths',
        'param_scheduler.0.end',
    ]
    assert found[0][1:] == ('(not set)', 1) and found[3][1:] == (3, 4)
    assert [is_expected(difference) for difference in found] == [False, True, False, False]


def test_runs_that_differ_in_the_seed_alone_are_one_group(three_seeds):
    # The checkpoints to start from differ by the seed in their names.
    comparison = compare_folders(three_seeds)
    assert [group.label for group in comparison.groups] == ['BN', 'DN-B (16, oup)']
    assert [group.seeds for group in comparison.groups] == [[0, 1, 2], [0, 1, 2]]
    assert not comparison.warnings and not comparison.left_out


def test_a_checkpoint_of_another_experiment_is_another_group(make_run):
    folders = [
        make_run('a', [0.1, 0.2, 0.3], seed=0, checkpoint='w/bn_seed0/epoch_2.pth'),
        make_run('b', [0.1, 0.2, 0.3], seed=1, checkpoint='w/bn_seed0/epoch_3.pth'),
        make_run('c', [0.1, 0.2, 0.3], seed=0, norm=DNB),
    ]
    groups = compare_folders(folders).groups
    assert [group.seeds for group in groups] == [[0], [1], [0]]
    assert groups[0].label != groups[1].label


def test_the_order_of_the_folders_changes_nothing(three_seeds, make_run):
    folders = [
        *three_seeds,
        '/nowhere',
        '/elsewhere',
        make_run('dead', [0.1], seed=3, log_tail='the loss is nan\n'),
        make_run('other', [0.1, 0.2, 0.3], data_root='data/other/'),
        make_run(
            'same',
            [0.1, 0.2, 0.5],
            seed=0,
            norm=DNB,
            checkpoint='work_dirs/dnb_pre_seed0/epoch_2.pth',
        ),
    ]
    told = set()
    for turn in range(4):
        random.Random(turn).shuffle(folders)
        comparison = compare_folders(folders)
        told.add(
            repr(
                (
                    comparison.claims,
                    comparison.left_out,
                    comparison.notes,
                    [(group.label, group.seeds) for group in comparison.groups],
                )
            )
        )
    assert len(told) == 1


def test_groups_of_one_norm_are_told_apart_and_have_their_own_baseline(make_run):
    folders = [
        make_run(f'{name}_{lr}', [0.1, 0.2, 0.3], norm=norm, lr=lr)
        for name, norm in (('bn', BN), ('dnb', DNB))
        for lr in (0.05, 0.2)
    ]
    comparison = compare_folders(folders)
    assert {label: baseline.label for label, baseline in comparison.baselines.items()} == {
        'DN-B (16, oup), lr=0.05': 'BN, lr=0.05',
        'DN-B (16, oup), lr=0.2': 'BN, lr=0.2',
    }
    assert not comparison.warnings
    fixed = compare_folders(folders, baseline='BN, lr=0.2')
    assert {baseline.label for baseline in fixed.baselines.values()} == {'BN, lr=0.2'}
    assert any(
        'DN-B (16, oup), lr=0.05 and BN, lr=0.2 differ in more than norm_cfg and '
        'checkpoint: optim_wrapper.optimizer.lr.' in text
        for text in fixed.warnings
    )


def test_settings_of_the_optimizer_and_the_origin_of_weights_tell_groups_apart(make_run):
    slow = "paramwise_cfg=dict(custom_keys=dict({'.sc.': dict(lr_mult=0.1)})), type"
    folders = [
        make_run('bn', [0.1, 0.2, 0.3]),
        make_run('dnb', [0.1, 0.2, 0.3], norm=DNB),
        make_run('read', [0.1, 0.2, 0.3], norm=DNB, checkpoint='work_dirs/other/e.pth'),
        make_run(
            'normalized',
            [0.1, 0.2, 0.3],
            checkpoint='work_dirs/third/e.pth',
            norm=DNB.replace('raw', 'normalized'),
        ),
        make_run('slow', [0.1, 0.2, 0.3], norm=DNB, checkpoint='work_dirs/fourth/e.pth'),
    ]
    config = Path(folders[-1], '20260101_000000', 'vis_data', 'config.py')
    config.write_text(config.read_text().replace("SGD'), type", f"SGD'), {slow}"))
    assert [group.label for group in compare_folders(folders).groups] == [
        'BN',
        'DN-B (16, oup), from mbv2',
        'DN-B (16, oup), from other',
        'DN-B (16, oup), lr_mult=0.1',
        'DN-B (16, oup), sc_input=normalized',
    ]
    assert report_title(compare_folders(folders)).startswith('BN and 4 others: mAP on data/')
    assert report_title(compare_folders(folders[:2])).startswith('BN, DN-B (16, oup): mAP on ')


@pytest.mark.parametrize(
    ('settings', 'details'),
    [
        ({}, 'sc_input=normalized'),
        ({'sc_input': 'raw', 'parameterization': 'paper', 'gain': 1}, ''),
        ({'sc_input': None, 'gain': 2}, 'sc_input=normalized, gain=2'),
        (
            {'parameterization': 'conditioned', 'gain': 'bn'},
            'parameterization=conditioned, gain=bn',
        ),
        (
            {'parameterization': 'conditioned', 'sc_input': 'normalized'},
            'parameterization=conditioned',
        ),
        (
            {'parameterization': 'conditioned', 'sc_input': 'raw'},
            'sc_input=raw, parameterization=conditioned',
        ),
    ],
)
def test_a_norm_is_told_by_what_is_not_as_in_the_paper(settings, details):
    backbone = {'norm_cfg': {'type': 'DNB', 'r': 16, 'g': 'oup', **settings}}
    assert NormLabel.of({'model': {'backbone': backbone}}).details == details


def test_the_baseline_is_named_by_norm_or_folder(three_seeds):
    for name in ('DN-B', 'dn-b (16, oup)', three_seeds[1], 'dnb_seed2'):
        comparison = compare_folders(three_seeds, baseline=name)
        assert comparison.claims[0].baseline == 'DN-B (16, oup)'
        assert comparison.claims[0].verdict == 'loss'
    with pytest.raises(UserError, match="GN.*'BN', 'DN-B"):
        compare_folders(three_seeds, baseline='GN')


def test_without_bn_the_baseline_must_be_named(make_run):
    folders = [
        make_run('a', [0.1, 0.2, 0.3], norm=DNB),
        make_run('b', [0.1, 0.2, 0.3], norm="dict(type='GN', num_groups=2)"),
    ]
    with pytest.raises(UserError, match='--baseline'):
        compare_folders(folders)
    assert compare_folders(folders, baseline='GN').claims


def test_other_data_and_classes_are_named_and_left_out(three_seeds, make_run):
    folders = [
        *three_seeds,
        make_run('coco', [0.1, 0.2, 0.3], data_root='data/coco/'),
        make_run('eighty', [0.1, 0.2, 0.3], classes=80),
        # The same data further down another disk.
        make_run('moved', [0.1, 0.2, 0.4], seed=3, data_root='/mnt/data/digits/', lr=0.1),
    ]
    comparison = compare_folders(folders)
    assert len(comparison.runs) == 7 and len(comparison.left_out) == 2
    assert 'coco: it was evaluated on data/coco/annotations' in comparison.left_out[0]
    assert 'eighty' in comparison.left_out[1] and '80 classes' in comparison.left_out[1]
    with pytest.raises(UserError, match='different data'):
        compare_folders([three_seeds[0], folders[6]])


def test_runs_are_grouped_and_judged_once(three_seeds, monkeypatch):
    calls = []
    for name in ('read_runs', 'group_runs', 'judge'):
        monkeypatch.setattr(comparison, name, counting(getattr(comparison, name), calls))
    compare_folders(three_seeds, baseline='BN', predictions=True)
    assert calls == ['read_runs', 'group_runs', 'judge']


def counting(function, calls):
    def counted(*args):
        calls.append(function.__name__)
        return function(*args)

    return counted


def test_a_comparison_cannot_be_changed(three_seeds):
    found = compare_folders(three_seeds, predictions=True)
    with pytest.raises(FrozenInstanceError):
        found.metric = 'top1'
    for frozen in (found.baselines, found.predictions.results, found.predictions.intervals):
        with pytest.raises(TypeError):
            frozen['DN-B'] = None
    for part in (found, found.predictions):
        for field in fields(part):
            assert isinstance(
                getattr(part, field.name),
                (tuple, MappingProxyType, str, int, type(None), Predictions),
            ), field.name


def test_failed_runs_are_noted_unless_the_report_tells_of_them(three_seeds, make_run):
    dead = make_run('dead', [0.1], seed=5, log_tail='the loss is nan\n')
    failed = {dead: 'diverged', 'elsewhere': 'no space', '/nowhere': 'no space'}
    found = compare_folders([*three_seeds, dead, '/nowhere'], failed=failed)
    assert [text for text in found.notes if 'no space' in text] == ['elsewhere: no space']
    assert sum(text.startswith(dead) for text in found.notes) == 1


def test_copies_of_a_run_do_not_decide_on_the_data(make_run):
    copies = [make_run(f'copy{i}', [0.1, 0.2, 0.3], data_root='data/other/') for i in range(3)]
    pair = [make_run('bn', [0.1, 0.2, 0.3]), make_run('dnb', [0.1, 0.2, 0.4], norm=DNB)]
    found = compare_folders([*copies, *pair])
    assert [run.work_dir for run in found.runs] == pair
    # Labels tell those apart that are left.
    assert [group.label for group in found.groups] == ['BN', 'DN-B (16, oup)']
