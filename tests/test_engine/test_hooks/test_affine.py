import json

import pytest
import torch

from dn_mmdet.engine import AffineHook
from dn_mmdet.engine.hooks.affine import warn_of_alpha
from tests.helpers.normed_map import run
from tests.helpers.point import point_runner


def scalars(work_dir):
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {row['step']: row for row in rows if any(key.startswith('affine_') for key in row)}


def test_every_norm_layer_has_its_scalars(tmp_path):
    runner = run(tmp_path, 'affine_scalars', AffineHook(interval=3))
    runner.train()
    rows = scalars(tmp_path)
    assert list(rows) == [3, 6]
    assert set(rows[3]) - {'step'} == {
        f'affine_{name}/norm'
        for name in (
            'alpha_mean',
            'alpha_spread',
            'lambda_mean',
            'lambda_spread',
            'dead_units',
            'saturated_units',
        )
    } | {
        f'affine_{name}/other'
        for name in ('alpha_mean', 'alpha_spread', 'lambda_mean', 'lambda_spread')
    }
    assert rows[3]['affine_alpha_mean/norm'] != 1.0 != rows[3]['affine_alpha_mean/other']
    assert rows[3]['affine_alpha_spread/norm'] > 0 == rows[3]['affine_alpha_spread/other']
    assert not any(module._forward_hooks for module in runner.model.modules())


def test_watching_changes_nothing(tmp_path):
    plain = run(tmp_path / 'plain', 'affine_plain')
    watched = run(tmp_path / 'watched', 'affine_watched', AffineHook(interval=1))
    plain.train()
    watched.train()
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[key]), key


def test_a_collapsed_layer_is_warned_of_once(tmp_path, capsys):
    runner = run(tmp_path, 'affine_collapse', AffineHook(interval=1), start='paper')
    with torch.no_grad():
        runner.model.norm.sc.fc2_weight.zero_()  # alpha = 0, and 0 it stays
    runner.model.norm.sc.fc2_weight.requires_grad = False
    runner.train()
    told = [line for line in capsys.readouterr().out.splitlines() if 'has collapsed' in line]
    assert len(told) == 1 and 'alpha of norm has collapsed' in told[0] and 'iteration 1' in told[0]


def test_a_layer_that_runs_away_is_warned_of_without_being_asked(tmp_path, capsys):
    runner = run(tmp_path, 'affine_runaway')
    with torch.no_grad():
        runner.model.norm.alpha_offset.fill_(1000.0)
    warn_of_alpha(runner)
    warn_of_alpha(runner)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, AffineHook))
    hook.interval = 1
    runner.train()
    told = [line for line in capsys.readouterr().out.splitlines() if 'has run away' in line]
    assert len(told) == 1 and 'norm has run away: a channel has a mean of 1e+03, above' in told[0]
    assert not scalars(tmp_path)


def test_a_model_without_dynamic_norms_is_not_watched(tmp_path):
    runner = point_runner(tmp_path)
    warn_of_alpha(runner)
    assert not any(isinstance(hook, AffineHook) for hook in runner.hooks)


def test_a_layer_that_works_is_not_warned_of(tmp_path, capsys):
    run(tmp_path, 'affine_fine', AffineHook(interval=1)).train()
    assert 'has collapsed' not in capsys.readouterr().out


def test_the_interval_is_checked():
    with pytest.raises(ValueError, match='interval must be 1 or more, but got 0'):
        AffineHook(interval=0)
