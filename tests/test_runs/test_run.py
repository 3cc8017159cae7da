import shutil
from pathlib import Path

import pytest

from dn_mmdet.runs.config import parse_config
from dn_mmdet.runs.log import read_environment, read_run_log
from dn_mmdet.runs.run import LeftOut, read_run
from tests.helpers.work_folders import start_of


def test_a_run_is_read_with_its_seed_module_and_environment(make_run):
    run = read_run(make_run('a', [0.1, 0.2, 0.3], seed=4, norm="dict(r=8, type='DNB')"))
    assert (run.seed, run.finished, run.planned, run.last) == (4, True, 3, 3)
    # g and the input as the layer has them by default
    assert str(run.norm) == 'DN-B (8, 1), sc_input=normalized'
    assert run.value('coco/bbox_mAP') == 0.3 and run.value('coco/bbox_mAP', 1) == 0.1
    # COCO's -1 is no measurement.
    assert run.metrics == {'coco/bbox_mAP', 'coco/bbox_mAP_50'}
    assert run.typical('time') == pytest.approx(0.15) and run.typical('memory') is None
    assert run.environment['PyTorch'] == '2.13.0+cpu' and run.environment['MMEngine'] == '0.10.7'
    assert not any('compiling' in key for key in run.environment)


def test_the_seed_that_was_drawn_is_in_the_log(make_run):
    folder = make_run('a', [0.1], seed=None, drawn=1234)
    assert read_run(folder).seed == 1234
    Path(folder, '20260101_000000', '20260101_000000.log').unlink()
    with pytest.raises(LeftOut, match='seed'):
        read_run(folder)


def test_a_resumed_run_replaces_what_it_did_again_and_all_after(tmp_path):
    folder = tmp_path / 'a'
    start_of(folder, [0.1, 0.2, 0.9])
    start_of(
        folder,
        [0.25],
        first_epoch=2,
        stamp='20260102_000000',
        resume=True,
        load_from='work_dirs/a/epoch_1.pth',
    )
    run = read_run(str(folder))
    # Epoch 3 came of what was given up, so that the run is not finished.
    assert run.log.curve('coco/bbox_mAP') == ([1, 2], [0.1, 0.25]) and not run.finished
    assert sorted(run.log.train) == [50, 100, 150, 200]
    assert [start.name for start in run.log.starts] == ['20260101_000000', '20260102_000000']
    assert run.config['load_from'] is None  # of the first start


def test_a_run_that_was_begun_anew_forgets_the_old_one(tmp_path):
    start_of(tmp_path / 'a', [0.1, 0.2, 0.3], lr=0.05)
    start_of(tmp_path / 'a', [0.5], lr=0.1, stamp='20260102_000000')
    run = read_run(str(tmp_path / 'a'))
    assert run.last == 1 and run.config['optim_wrapper']['optimizer']['lr'] == 0.1


def test_two_configurations_in_one_log_are_refused(tmp_path):
    start_of(tmp_path / 'a', [0.1], lr=0.05)
    start_of(tmp_path / 'a', [0.2], lr=0.1, first_epoch=2, stamp='20260102_000000')
    with pytest.raises(LeftOut, match=r'mixes two configurations.*optim_wrapper\.optimizer\.lr'):
        read_run(str(tmp_path / 'a'))


def test_half_a_line_is_named_and_the_rest_counts(make_run):
    run = read_run(make_run('a', [0.1, 0.2], scalars_tail='{"coco/bbox_mAP": 0.3, "st'))
    assert run.last == 2 and run.log.broken[0].endswith('scalars.json:7')
    run = read_run(make_run('b', [0.1, 0.2], scalars_tail='3\n\0\0\n'))
    assert run.last == 2 and len(run.log.broken) == 2


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda start: (start / 'vis_data/scalars.json').unlink(), 'no log was found'),
        (lambda start: (start / 'vis_data/scalars.json').write_text('{"half'), '1 unreadable line'),
        (lambda start: (start / 'vis_data/config.py').unlink(), 'no configuration'),
        (
            lambda start: (start / 'vis_data/config.py').write_text('model = dict('),
            'cannot be read',
        ),
        (lambda start: (start / 'vis_data/config.py').write_bytes(b'\0\0'), 'cannot be read'),
        (lambda start: shutil.rmtree(start.parent), 'no such folder'),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(make_run, spoil, message):
    folder = make_run('a', [0.1])
    spoil(Path(folder, '20260101_000000'))
    with pytest.raises(LeftOut, match=message) as error:
        read_run(folder)
    assert str(error.value).startswith(folder)


def test_the_folder_of_a_start_is_told_from_a_work_folder(make_run):
    with pytest.raises(LeftOut, match='the one above it'):
        read_run(make_run('a', [0.1]) + '/20260101_000000')


@pytest.mark.parametrize(
    'settings',
    [
        dict(scalars_tail='{"loss": NaN, "iter": 150, "step": 150}\n'),
        dict(
            log_tail='2026/01/01 00:00:02 - mmengine - ERROR - the loss is nan (loss_cls nan) at '
            'iteration 120 (epoch 2), at a learning rate of 0.5: lower it.\n'
        ),
        dict(log_tail='2026/01/01 00:00:02 - mmengine - INFO - loss become infinite or NaN!\n'),
    ],
)
def test_a_death_by_nan_is_seen(make_run, settings):
    assert read_run(make_run('a', [0.1], **settings)).diverged
    # An interrupted run has nothing of the kind.
    assert not read_run(make_run('b', [0.1])).diverged


def test_a_run_that_was_resumed_after_nan_is_no_dead_one(tmp_path):
    start_of(tmp_path / 'a', [0.1], log_tail='the loss is nan (loss_cls nan)\n')
    start_of(tmp_path / 'a', [0.2, 0.3], first_epoch=2, stamp='20260102_000000', resume=True)
    run = read_run(str(tmp_path / 'a'))
    assert run.finished and not run.diverged


def test_a_run_that_counts_iterations(tmp_path, make_run):
    folder = Path(make_run('a', [0.1]))
    config = folder / '20260101_000000/vis_data/config.py'
    config.write_text(
        config.read_text().replace(
            'train_cfg = dict(max_epochs=3,', 'train_cfg = dict(max_iters=120,'
        )
    )
    # Without epochs mmengine logs evaluations as step 0: the iteration before says where.
    (config.parent / 'scalars.json').write_text(
        ''.join(
            f'{line}\n'
            for line in (
                '{"loss": 2.0, "iter": 50, "step": 50}',
                '{"accuracy/top1": 50.0, "step": 0}',
                '{"loss": 1.0, "iter": 100, "step": 100}',
                '{"accuracy/top1": 60.0, "step": 0}',
            )
        )
    )
    run = read_run(str(folder))
    assert run.log.curve('accuracy/top1') == ([50, 100], [50.0, 60.0])
    assert not run.by_epoch and run.planned == 120 and run.finished


def test_scalars_of_other_hooks_are_no_evaluations(make_run):
    run = read_run(
        make_run(
            'a',
            [0.1, 0.2, 0.3],
            scalars_tail=''.join(
                f'{{"alpha/layer1": 1.5, "step": {step}}}\n' for step in (3, 250, 300)
            ),
        )
    )
    assert run.steps == [1, 2, 3] and run.finished and run.value('coco/bbox_mAP') == 0.3


def test_what_caught_the_output_of_the_last_start_tells_of_its_death(make_run):
    folder = make_run('a', [0.1])
    before, after = (
        'System environment:\nerror: the loss is nan (loss 3)\n',
        'System environment:\ninterrupted\n',
    )
    Path(folder, 'train.log').write_text(before + after)
    assert not read_run(folder).diverged
    Path(folder, 'train.log').write_text(after + before)
    assert 'error: the loss is nan' in read_run(folder).diverged


def test_a_configuration_is_parsed_and_never_run(tmp_path):
    text = f"""a = dict(x=(1, -2.5), y={{'k': None}})\nb = open({str(tmp_path / 'f')!r}, "w")\n"""
    assert parse_config(text) == dict(
        a=dict(x=[1, -2.5], y=dict(k=None)), b=f"open({str(tmp_path / 'f')!r}, 'w')"
    )
    assert not list(tmp_path.iterdir())


def test_folders_without_a_log_have_no_environment(tmp_path):
    assert read_environment(tmp_path) == {} and read_run_log(tmp_path).starts == ()


def test_revisions_are_those_of_all_starts(tmp_path, make_run):
    note = '2026/01/01 00:00:00 - mmengine - INFO - git revision: '
    folder = start_of(tmp_path / 'run', [0.1], log_tail=f'{note}abc-dirty\n')
    start_of(
        tmp_path / 'run',
        [0.2],
        first_epoch=2,
        stamp='20260102_000000',
        log_tail=f'{note}def\nmore\n',
    )
    start_of(
        tmp_path / 'run', [0.3], first_epoch=3, stamp='20260103_000000', log_tail=f'{note}def\n'
    )
    assert read_run(folder).environment['git revision'] == 'abc-dirty, then def'
    assert 'git revision' not in read_run(make_run('old', [0.1])).environment
