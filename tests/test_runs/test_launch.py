import hashlib
import json
import os

import pytest
from mmengine.config import Config

from dn_mmdet.engine import load_config
from dn_mmdet.runs import Training
from dn_mmdet.runs.config import EARLIER_HOOKS
from dn_mmdet.runs.launch import data_files, fingerprint, monitor
from dn_mmdet.utils.errors import UserError

# A row of the last epoch, which is not evaluated yet.
TRAINED = json.dumps(dict(loss=2.5, epoch=2, iter=200, step=200)) + '\n'


@pytest.fixture
def training(make):
    return make('train BN')


def test_a_run_is_monitored_to_its_end(training):
    assert training.prepare() is None and not training.done
    told = []
    training.run(lambda share, status: told.append((share, status)))
    assert [share for share, _ in told] == [0, 0.25, 0.75]
    assert told[2][1] == 'epoch 2/2, iteration 5/10, loss 2.5, mAP 0.110'
    assert training.done and training.checkpoint.name == 'epoch_2.pth'


def test_lines_of_a_loop_of_iterations_are_monitored(training, tmp_path):
    told = []
    lines = [
        'x - INFO - Iter(train) [ 50/400]  lr: 1.0e-02  eta: 0:00:13  loss: 2.5  acc: 6\n',
        'x - INFO - Iter(val) [1/1]    accuracy/top1: 88.0000  data_time: 0.1\n',
        'x - INFO - Iter(train) [100/400]  lr: 1.0e-02  eta: 0:00:13  loss: nan  acc: 6\n',
    ]
    with open(tmp_path / 'log', 'w') as log:
        monitor(lines, log, None, lambda *what: told.append(what))
    assert told == [
        (0.125, 'iteration 50/400, loss 2.5'),
        (0.25, 'iteration 100/400, loss nan, top1 88.0000'),
    ]
    assert (tmp_path / 'log').read_text() == ''.join(lines)
    training.config.write_text('train_cfg = dict(max_iters=400)')
    assert training.checkpoint.name == 'iter_400.pth'


def test_a_run_is_given_its_seed_settings_start_and_threads(make):
    first = make('first')
    second = make(
        'second',
        seed=3,
        after=(first,),
        options={
            'preflight.images': False,
            'model.c': [1, 2],
            'log_level': 'x',
            'optim_wrapper.e': {'.f': 4.0},
        },
    )
    second.prepare()
    second.run(lambda *_: None, threads=7)
    given = (second.work_dir / 'given.txt').read_text().split()
    assert given == [
        '7',
        '--work-dir',
        'work_dirs/second',
        '--resume',
        '--cfg-options',
        'randomness.seed=3',
        'preflight.images=False',
        'model.c=[1,2]',
        'log_level=x',
        "optim_wrapper.e={'.f':",
        '4.0}',
        'model.backbone.init_cfg.checkpoint=work_dirs/first/epoch_2.pth',
    ]


def test_a_stopped_run_goes_on_and_a_done_one_stays(make):
    training = make('train BN', mode='fail')
    training.prepare()
    with pytest.raises(UserError) as failure:
        training.run(lambda *_: None)
    assert str(failure.value) == (
        'train BN ended with status 1: the disk is full (full log: work_dirs/train_BN/training.log)'
    )
    # As it is after an interrupt in the second epoch, which is no matter of the configuration.
    stamp = json.loads((training.work_dir / 'training.json').read_text())
    training = make('train BN')
    (training.work_dir / 'training.json').write_text(json.dumps(training.fingerprint()))
    assert stamp != training.fingerprint()
    assert training.prepare() is None
    told = []
    training.run(lambda share, status: told.append(share))
    assert told == [0.5, 0.75] and training.done


def test_a_loop_that_saves_no_last_step_is_named(training):
    training.prepare()
    training.options = {'train_cfg.max_epochs': 9}
    with pytest.raises(UserError, match='ended without work_dirs/train_BN/epoch_9.pth: let defa'):
        training.run(lambda *_: None)
    training.options = {}
    training.config.write_text('lr = 0.1')
    with pytest.raises(UserError, match='train_BN.py sets neither train_cfg.max_epochs nor'):
        training.done  # noqa: B018


@pytest.mark.parametrize(
    'maps, val_cfg, done',
    [([0.1], True, False), ([], True, False), ([], False, True), ([0.1, 0.2], True, True)],
)
def test_a_run_killed_in_its_last_evaluation_is_not_done(
    training, make_run, maps, val_cfg, done, tmp_path
):
    training.prepare()
    training.run(lambda *_: None)
    more = 'val_cfg = dict()' if val_cfg else ''
    training.config.write_text(f'{training.config.read_text()}\n{more}\n')
    assert training.done  # without a log nothing can say
    make_run('work_dirs/train_BN', maps, epochs=2, scalars_tail=TRAINED)
    assert training.done == done


def change_rate(training):
    training.config.write_text(training.config.read_text().replace('lr = 0.1', 'lr = 0.2'))


@pytest.mark.parametrize('change', ['config', 'seed', 'option', 'run before', 'garbage'])
def test_what_decides_the_result_sets_the_folder_aside_and_loses_nothing(make, change):
    first = make('first')
    training = make('train BN', after=(first,))
    training.prepare()
    training.run(lambda *_: None)
    assert training.prepare() is None
    if change == 'config':
        change_rate(training)
    elif change == 'seed':
        training.seed = 1
    elif change == 'option':
        training.options = {'optim_wrapper.optimizer.lr': 0.3}
    elif change == 'run before':
        change_rate(first)
    else:
        (training.work_dir / 'training.json').write_text('{"seed": 0, "sha')
    moved = training.prepare()
    assert (moved / 'epoch_2.pth').is_file()
    assert not training.done
    assert list(training.work_dir.iterdir()) == [training.work_dir / 'training.json']


def test_data_decides_and_a_place_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs('data/digits/crops')
    config = tmp_path / 'a.py'
    config.write_text(
        'train_cfg = dict(max_epochs=1)\n'
        "inner = dict(data_root='data/digits/', ann_file='train.json')\n"
        "train_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=inner))\n"
        "val_dataloader = dict(dataset=dict(data_root='data/digits/crops'))\n"
    )

    def found(work_dir='here'):
        return Training('a', config, tmp_path / work_dir, 0).fingerprint()

    seen = [found()]
    assert found('there') == seen[0]
    for file in ('data/digits/train.json', 'data/digits/digits.json'):
        (tmp_path / file).write_text('1')
        seen.append(found())
        (tmp_path / file).write_text('2')
        seen.append(found())
    assert len({one['sha256'] for one in seen}) == 5
    files = data_files(Training('a', config, tmp_path, 0)._config)
    assert [file.name for file in files] == ['digits.json', 'train.json']


def test_a_run_of_0_1_0_is_of_this_configuration(make):
    """Its stamp was made with two hooks that only stop a run; the base has them no longer."""
    training = make('train BN')
    training.prepare()
    stamp = training.work_dir / 'training.json'
    earlier = load_config(str(training.config), work_dir='')
    earlier.custom_hooks = EARLIER_HOOKS
    stamp.write_text(json.dumps(fingerprint(earlier, training.seed)))
    assert json.loads(stamp.read_text()) != training.fingerprint()
    assert training.prepare() is None
    earlier.lr = 0.7
    stamp.write_text(json.dumps(fingerprint(earlier, training.seed)))
    assert training.prepare() is not None


def test_a_run_of_dnb_is_of_the_form_that_was_its_default_when_it_began():
    """Stamps of before, when that was another, were made of the configuration as it stood."""

    def found(**norm):
        norms = [dict(type='mmengine.DNB', **norm), dict(type='BN')]
        return fingerprint(Config(dict(model=dict(norms=norms))), 0)

    assert found() == found(sc_input='normalized') != found(sc_input='raw')
    stood = json.dumps([dict(model=dict(norms=[dict(type='mmengine.DNB')])), 0, []])
    one = fingerprint(Config(dict(model=dict(norms=[dict(type='mmengine.DNB')]))), 0)
    assert one['sha256'] != hashlib.sha256(stood.encode()).hexdigest()
    plain = dict(model=dict(norms=[dict(type='BN')]))
    stood = json.dumps([plain, 0, []])
    assert fingerprint(Config(plain), 0)['sha256'] == hashlib.sha256(stood.encode()).hexdigest()
