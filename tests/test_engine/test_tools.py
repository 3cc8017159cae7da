"""The tools as a user runs them, each in a process of its own."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.fileio import load
from yapf.yapflib import yapf_api

from dn_mmdet import engine
from tests.helpers.tiny import (
    REPOSITORY,
    environment,
    run_tool,
    write_classifier,
    write_coco,
    write_config,
    write_image_folder,
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder in which tools/train.py trained tiny.py for two epochs."""
    folder = tmp_path_factory.mktemp('trained')
    write_coco(folder / 'data')
    write_config(folder)
    done = run_tool('train.py', 'tiny.py', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_train(trained):
    work = trained / 'work_dirs/tiny'
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_2.pth')
    first, second = weights(work / 'epoch_1.pth'), weights(work / 'epoch_2.pth')
    assert not torch.equal(
        first['backbone.conv1.conv.weight'], second['backbone.conv1.conv.weight']
    )
    # The SC-Modules train too; their last layer begins at 0.
    assert second['backbone.conv1.bn.sc.fc2_weight'].any()
    assert not list(work.glob('*.tmp'))


def test_resume_ends_where_an_uninterrupted_run_does(trained, monkeypatch):
    monkeypatch.chdir(trained)
    work = trained / 'again'
    work.mkdir()
    shutil.copy(trained / 'work_dirs/tiny/epoch_1.pth', work)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_1.pth'))
    engine.train('tiny.py', work_dir='again', resume='auto')
    whole = torch.load(trained / 'work_dirs/tiny/epoch_2.pth', weights_only=True)
    resumed = torch.load(work / 'epoch_2.pth', weights_only=True)
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][key]), key
    assert resumed['meta']['iter'] == whole['meta']['iter'] == 4
    # It did not simply begin anew with the same seed.
    log = next(work.glob('*/vis_data/scalars.json')).read_text()
    assert {json.loads(line).get('epoch') for line in log.splitlines()} - {None} == {2}
    assert (
        resumed['optimizer']['param_groups'][0]['lr'] == whole['optimizer']['param_groups'][0]['lr']
    )


def test_resuming_a_finished_run_trains_nothing(trained, monkeypatch):
    monkeypatch.chdir(trained)
    work = trained / 'finished'
    work.mkdir()
    (work / 'last_checkpoint').write_text(str(trained / 'work_dirs/tiny/epoch_2.pth'))
    engine.train('tiny.py', work_dir='finished', resume='auto')
    assert not list(work.glob('*.pth'))
    log = next(work.glob('*/*.log')).read_text()
    assert 'Nothing was trained: ' in log.splitlines()[-1]


def test_test(trained, monkeypatch):
    """Metrics are those that the training ended with; predictions and pictures are written."""
    monkeypatch.chdir(trained)
    metrics = engine.test(
        'tiny.py',
        'work_dirs/tiny/epoch_2.pth',
        work_dir='tested',
        out='tested/predictions.pkl',
        show_dir='shown',
    )
    log = next((trained / 'work_dirs/tiny').glob('*/vis_data/scalars.json')).read_text()
    last = json.loads(log.splitlines()[-1])
    assert metrics['coco/bbox_mAP_50'] == last['coco/bbox_mAP_50']
    assert len(list((trained / 'tested').glob('*/shown/*.jpg'))) == 4
    assert len(load(trained / 'tested/predictions.pkl')) == 4


def test_test_time_augmentation(trained, monkeypatch):
    monkeypatch.chdir(trained)
    metrics = engine.test('tiny.py', 'work_dirs/tiny/epoch_2.pth', work_dir='augmented', tta=True)
    assert 0 <= metrics['coco/bbox_mAP_50'] <= 1
    config = next((trained / 'augmented').glob('tiny.py')).read_text()
    assert "type='TestTimeAug'" in config


def test_interrupt_in_the_middle_of_a_save(trained, monkeypatch):
    """mmengine makes a SyntaxError of a Ctrl-C while it formats the configuration."""
    monkeypatch.chdir(trained)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    def train(*args):
        for module in (mmengine_config, yapf_api):  # where releases of mmengine take it from
            monkeypatch.setattr(module, 'FormatCode', interrupted, raising=False)
        engine.load_config('tiny.py').pretty_text  # noqa: B018

    monkeypatch.setattr('mmengine.runner.Runner.train', train)
    with pytest.raises(KeyboardInterrupt, match='no checkpoint was written yet'):
        engine.train('tiny.py', work_dir='interrupted')


def test_classifier_is_interrupted(tmp_path):
    """The same tool trains a classifier; Ctrl-C ends it with a line on how to go on."""
    for split in ('train', 'val'):
        write_image_folder(tmp_path / 'crops' / split)
    write_classifier(tmp_path)
    command = [
        sys.executable,
        str(REPOSITORY / 'tools/train.py'),
        'classifier.py',
        '--work-dir',
        'work',
        '--cfg-options',
        'train_cfg.max_epochs=1000',
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(600):
        time.sleep(0.1)
        if (tmp_path / 'work/last_checkpoint').exists() or process.poll() is not None:
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert 'Traceback' not in error
    assert error.splitlines()[-1] == (
        'interrupted: the same command with --resume continues from the last checkpoint in work.'
    )
    path = (tmp_path / 'work/last_checkpoint').read_text()
    assert torch.load(path, weights_only=True)['meta']['epoch'] >= 1
